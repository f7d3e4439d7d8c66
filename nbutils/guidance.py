"""Teach a network to look at the defect: boxes as a second target of training."""

import numpy as np
import pandas as pd

from nbutils import boxes, feature_maps
from nbutils.backend import keras, tf


class Guided(keras.Model):
    """A network in training, whose Grad-CAM map is drawn into the boxes.

    To the loss it adds `weight` times the mean of -log of the share of the map that lies inside the
    boxes of the image's class. That asks for the right answer for the right reason, as Ross, Hughes
    and Doshi-Velez do with gradients (IJCAI 2017, arXiv:1703.03717). Prediction is the network's.

    Parameters
    ----------
    network
        From images (batch, size, size, 1) to the probabilities of its layer `probabilities`; its
        layer `augmentation` turns and mirrors images and boxes alike.
    weight
        Of the boxes in the loss.
    """

    def __init__(self, network: keras.Model, weight: float):
        super().__init__(name=network.name)
        self.network = network
        self.weight = weight
        self.augment = network.get_layer("augmentation")
        self.head = network.get_layer("probabilities")
        maps = network.get_layer(feature_maps.last(network)).output
        self.seen = keras.Model(self.augment.output, [network.output, maps, self.head.input])
        self.built = True  # by the network

    def call(self, images, training=False):
        """Predict."""
        return self.network(images, training=training)

    def train_step(self, batch):
        """Take a step on ((images, masks), class numbers)."""
        (images, masks), numbers = batch
        channels = tf.concat([tf.cast(images, tf.float32), tf.cast(masks, tf.float32)], axis=-1)
        with tf.GradientTape() as tape:
            channels = self.augment(channels, training=True)
            with tf.GradientTape() as inner:
                chances, maps, features = self.seen(channels[..., :1], training=True)
                scores = features @ self.head.kernel
                score = tf.reduce_sum(tf.gather(scores, numbers, axis=1, batch_dims=1))
            slopes = tf.reduce_sum(inner.gradient(score, maps), axis=(1, 2), keepdims=True)
            heat = tf.nn.relu(tf.reduce_sum(maps * slopes, axis=-1, keepdims=True))
            share = _share_inside(heat, channels[..., 1:] / 255)
            loss = self.compute_loss(y=numbers, y_pred=chances)
            guided = loss - self.weight * tf.reduce_mean(tf.math.log(share + 1e-3))
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(guided, weights), weights, strict=True))
        for metric in self.metrics:
            values = (loss,) if metric.name == "loss" else (numbers, chances)
            metric.update_state(*values)
        return self.get_metrics_result()


def _share_inside(heat, masks):
    """Return the share of each map (batch, rows, columns, 1) inside its mask."""
    cell = masks.shape[1] // heat.shape[1]
    inside = tf.nn.avg_pool2d(masks, cell, cell, "VALID")
    within, whole = (tf.reduce_sum(part, axis=(1, 2, 3)) for part in (heat * inside, heat))
    return within / (whole + 1e-4)


def masks(rows: pd.DataFrame, size: int) -> np.ndarray:
    """Draw the boxes of each image's own class; all of the image where it has none.

    Parameters
    ----------
    rows
        Of `split.csv`: label, boxes, width and height (pixels).
    size
        Side of the squares in pixels.

    Returns
    -------
    uint8 array (images, size, size, 1), 255 inside and 0 outside.
    """
    drawn = boxes.masks(rows, rows["label"], size)
    drawn[~drawn.any(axis=(1, 2))] = True
    return np.where(drawn, 255, 0).astype(np.uint8)[..., np.newaxis]
