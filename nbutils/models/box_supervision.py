"""Box supervision: the boxes of the defects as a second target of training."""

import numpy as np
import pandas as pd

from nbutils.data import datasets
from nbutils.models import networks
from nbutils.runtime import keras, tf


class BoxSupervisedModel(keras.Model):
    """A network in training, whose Grad-CAM heatmaps are supervised by boxes.

    The loss is cross-entropy plus `weight` times the mean of -log of the share of the heatmap that
    lies inside the boxes of the image's class: the right answer for the right reasons, as Ross,
    Hughes and Doshi-Velez ask of gradients (IJCAI 2017, arXiv:1703.03717). Prediction is that of
    the network.

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
        maps = network.get_layer(networks.last_maps(network)).output
        outputs = [network.output, maps, self.head.input]
        self.after_augmentation = keras.Model(self.augment.output, outputs)
        self.built = True  # by the network

    def call(self, images, training=False):
        """Predict."""
        return self.network(images, training=training)

    def train_step(self, batch):
        """Take a step on ((images, masks), class numbers)."""
        (images, masks), y = batch
        channels = tf.concat([tf.cast(images, tf.float32), tf.cast(masks, tf.float32)], axis=-1)
        with tf.GradientTape() as tape:
            channels = self.augment(channels, training=True)
            probabilities, heatmaps = self._forward(channels[..., :1], y)
            share = _share_inside(heatmaps, channels[..., 1:] / 255)
            loss = self.compute_loss(y=y, y_pred=probabilities)
            total = loss - self.weight * tf.reduce_mean(tf.math.log(share + 1e-3))
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(total, weights), weights, strict=True))
        for metric in self.metrics:
            values = (loss,) if metric.name == "loss" else (y, probabilities)
            metric.update_state(*values)
        return self.get_metrics_result()

    def _forward(self, images, y):
        """Return probabilities, and the Grad-CAM heatmaps of the true classes."""
        with tf.GradientTape() as tape:
            probabilities, maps, features = self.after_augmentation(images, training=True)
            scores = features @ self.head.kernel
            score = tf.reduce_sum(tf.gather(scores, y, axis=1, batch_dims=1))
        weights = tf.reduce_sum(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
        return probabilities, tf.nn.relu(tf.reduce_sum(maps * weights, axis=-1, keepdims=True))


def box_targets(rows: pd.DataFrame, size: int) -> np.ndarray:
    """Draw the boxes of each image's own class; the whole image where it has none.

    Parameters
    ----------
    rows
        Of `split.csv`: label, boxes, width and height (pixels).
    size
        Side of the model's input in pixels.

    Returns
    -------
    uint8 array (images, size, size, 1), 255 inside and 0 outside.
    """
    masks = datasets.box_masks(rows, rows["label"], size)
    masks[~masks.any(axis=(1, 2))] = True
    return np.where(masks, 255, 0).astype(np.uint8)[..., np.newaxis]


def _share_inside(heatmaps, masks):
    """Return the share of each heatmap (batch, rows, columns, 1) inside its mask."""
    cell = masks.shape[1] // heatmaps.shape[1]
    inside = heatmaps * tf.nn.avg_pool2d(masks, cell, cell, "VALID")
    return tf.reduce_sum(inside, axis=(1, 2, 3)) / (tf.reduce_sum(heatmaps, axis=(1, 2, 3)) + 1e-4)
