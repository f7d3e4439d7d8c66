"""A head that says where: for each cell of a grid, the classes there, and the box around it."""

from nbutils.artefacts import CELL_EXTRA, MAX_LOG_DISTANCE
from nbutils.data import cells
from nbutils.models.networks import pyramid
from nbutils.runtime import keras, tf

layers = keras.layers
CHANNELS = 64
PRIOR = -2.0  # logit of a class before training: most cells are no defect
TOP_SHARE = 0.1  # of the cells, which speak for an image without boxes
BOX_WEIGHT, QUALITY_WEIGHT = 2.0, 0.5  # in the loss of the cells
INSIDE_WEIGHT = 0.2  # of the cells in boxes, beside those outside
NAME = "cells"  # of the layer, and begin of the names of those before it
HEAD_LEARNING_RATE = 2e-3


def add_head(model: keras.Model, n_classes: int) -> keras.Model:
    """Return a classifier with a second output: the cells.

    Feature maps of three grids are brought to the same channels, and the coarse ones, which know
    the class, enlarged and added to the finer ones, which know the place (feature pyramid of Lin et
    al., CVPR 2017).

    Parameters
    ----------
    model
        From images (batch, size, size, 1) to probabilities.
    n_classes
        How many there are.

    Returns
    -------
    Model with the outputs probabilities, and cells, float32 (batch, grid, grid, classes + 5):
    logits of the classes, logit of the box's quality (its expected overlap with the true one), and
    the logarithms of the distances to its left, top, right and bottom edge, in cells.
    """
    x = None
    for number, layer in enumerate(pyramid(model)):
        lateral = layers.Conv2D(CHANNELS, 1, use_bias=False, name=f"cells{number}_lateral")
        y = _normalize(lateral(layer.output), f"cells{number}_norm1")
        if x is not None:
            enlarge = layers.Resizing(*y.shape[1:3], "bilinear", name=f"cells{number}_enlarge")
            y = layers.Add(name=f"cells{number}_sum")([enlarge(x), y])
        y = layers.ReLU(name=f"cells{number}_relu1")(y)
        x = _convolution(y, 3, f"cells{number}")
    x = _convolution(x, 5, "cells_last")
    output = layers.Conv2D(n_classes + CELL_EXTRA, 1, name=NAME)
    cells_of_image = output(x)
    output.bias.assign([PRIOR] * n_classes + [0.0] + [1.0] * cells.EDGES)
    return keras.Model(model.inputs, [model.outputs[0], cells_of_image], name=model.name)


def classifier(model: keras.Model) -> keras.Model:
    """Return the part of a network from images to probabilities."""
    return keras.Model(model.inputs, model.outputs[0], name=model.name)


def grid_of(model: keras.Model) -> int:
    """Return the side of a network's grid of cells; 0 without a head for them."""
    return model.outputs[1].shape[1] if len(model.outputs) > 1 else 0


def _normalize(x, name: str):
    return layers.BatchNormalization(momentum=0.95, name=name)(x)


def _convolution(x, width: int, name: str):
    convolution = layers.SeparableConv2D(
        CHANNELS, width, padding="same", use_bias=False, name=f"{name}_conv"
    )
    return layers.ReLU(name=f"{name}_relu2")(_normalize(convolution(x), f"{name}_norm2"))


class DefectTrainer(keras.Model):
    """A network in training: its class probabilities, and its cells.

    The loss of an image is the cross-entropy of its class, plus `weight` times that of its cells.
    With boxes, each cell has a target, and positive ones a box: generalised IoU (Rezatofighi et
    al., CVPR 2019), and its quality is the IoU that was reached. Without boxes, the cells that are
    surest of a class speak for the image (multiple-instance learning). Prediction is that of the
    classifier, and so are the loss and accuracy that it reports: the cells are not in them.

    Parameters
    ----------
    network
        With the outputs of `add_head`; its layer `augmentation` is passed by, since images come
        augmented with their boxes (`cells.augment`).
    weight
        Of the cells in the loss; with 0 they are left as they are.
    """

    def __init__(self, network: keras.Model, weight: float):
        super().__init__(name=network.name)
        self.network, self.weight = network, weight
        self.n_classes, self.grid = network.outputs[0].shape[-1], grid_of(network)
        self.after_augmentation = keras.Model(
            network.get_layer("augmentation").output, network.outputs
        )
        if not weight:
            for layer in network.layers:
                layer.trainable &= not layer.name.startswith(NAME)
        self.built = True  # by the network

    def call(self, images, training=False):
        """Predict the class probabilities."""
        return self.network(images, training=training)[0]

    def train_step(self, batch):
        """Take a step on ((images, cells), shares of the classes)."""
        (images, target), shares = batch
        weights = self.trainable_variables
        with tf.GradientTape() as tape:
            probabilities, predicted = self.after_augmentation(images, training=True)
            entropy = keras.losses.categorical_crossentropy(shares, probabilities)
            loss = tf.reduce_mean(entropy) + tf.add_n([tf.constant(0.0), *self.losses])
            total = loss
            if self.weight:
                total += self.weight * cell_loss(predicted, target, shares)
        self.optimizer.apply_gradients(zip(tape.gradient(total, weights), weights, strict=True))
        is_whole = tf.reduce_max(shares, axis=1) == 1.0  # no mosaic, and no outlier
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(tf.argmax(shares, 1), probabilities, is_whole)
        return self.get_metrics_result()


def train(trainer: DefectTrainer, batches: tf.data.Dataset, epochs: int) -> None:
    """Train the cells alone, on a backbone that stays as it is.

    So the map is that of the weights which were kept, and no class changes for its sake.
    """
    network = trainer.network
    before = [layer.trainable for layer in network.layers]
    for layer in network.layers:
        layer.trainable = layer.name.startswith(NAME)
    schedule = keras.optimizers.schedules.CosineDecay(
        HEAD_LEARNING_RATE, epochs * int(batches.cardinality())
    )
    of_head = DefectTrainer(network, weight=1.0)
    of_head.compile(optimizer=keras.optimizers.AdamW(schedule))
    of_head.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    for layer, trains in zip(network.layers, before, strict=True):
        layer.trainable = trains


def cell_loss(predicted, target, shares):
    """Return the loss of cells: float32 tensor without axes.

    Most cells lie in no box, and most that do in large ones. So cells in boxes have a share of
    their own, `INSIDE_WEIGHT`, and each weighs less the larger its box, by the root of its area.

    Parameters
    ----------
    predicted, target
        As `add_head` and `cells.encode` return them, a batch each.
    shares
        Of the classes in each image, float32 (batch, classes).
    """
    n_classes = shares.shape[1]
    logits = predicted[..., :n_classes]
    marked, weight, has_box, edges = cells.split_target(target, n_classes)
    boxed = _weigh_by_box(has_box, edges)
    iou, generalized = _overlap(predicted[..., n_classes + 1 :], edges)
    quality = tf.nn.sigmoid_cross_entropy_with_logits(
        tf.stop_gradient(iou), predicted[..., n_classes]
    )
    of_boxes = BOX_WEIGHT * (1.0 - generalized) + QUALITY_WEIGHT * quality
    return (
        _class_loss(logits, marked, weight, boxed)
        + tf.reduce_sum(boxed * of_boxes) / (tf.reduce_sum(boxed) + 1.0)
        + _image_loss(logits, weight, shares)
    )


def _weigh_by_box(has_box, edges):
    """Return weights of cells, 0 without a box, with the same sum as `has_box`."""
    left, top, right, bottom = tf.unstack(edges, axis=-1)
    weights = has_box / tf.sqrt(tf.maximum((right - left) * (bottom - top), 1.0))
    return weights * tf.math.divide_no_nan(tf.reduce_sum(has_box), tf.reduce_sum(weights))


def _class_loss(logits, marked, weight, boxed):
    """Return the loss of classes whose place is known, inside of boxes and outside."""
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(marked, logits)
    inside = marked * weight * boxed[..., tf.newaxis]
    outside = (1.0 - marked) * weight
    cells_outside = tf.reduce_sum(outside) / logits.shape[-1]
    return (
        INSIDE_WEIGHT * tf.reduce_sum(entropy * inside) / (tf.reduce_sum(inside) + 1.0)
        + (1.0 - INSIDE_WEIGHT) * tf.reduce_sum(entropy * outside) / (cells_outside + 1.0)
    )  # fmt: skip


def _image_loss(logits, weight, shares):
    """Return the loss of classes whose place is unknown, by the cells that are surest of them."""
    cells_of = tf.reshape(logits, (-1, logits.shape[1] * logits.shape[2], logits.shape[3]))
    top = tf.math.top_k(
        tf.transpose(cells_of, (0, 2, 1)), int(TOP_SHARE * cells_of.shape[1])
    ).values
    unknown = 1.0 - tf.reduce_max(weight, axis=(1, 2))
    present = tf.cast(shares > 0, tf.float32)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(present, tf.reduce_mean(top, axis=-1))
    return tf.reduce_sum(entropy * unknown) / tf.cast(tf.shape(logits)[0], tf.float32)


def _overlap(distances, edges):
    """Return IoU and generalised IoU of predicted boxes with true ones, one for each cell."""
    grid = distances.shape[1]
    centers = tf.range(grid, dtype=tf.float32) + 0.5
    distances = tf.exp(tf.clip_by_value(distances, -MAX_LOG_DISTANCE, MAX_LOG_DISTANCE))
    left, top, right, bottom = tf.unstack(distances, axis=-1)
    x, y = centers[tf.newaxis, tf.newaxis, :], centers[tf.newaxis, :, tf.newaxis]
    a = x - left, y - top, x + right, y + bottom
    b = tf.unstack(edges, axis=-1)
    low = [tf.minimum(*pair) for pair in zip(a, b, strict=True)]
    high = [tf.maximum(*pair) for pair in zip(a, b, strict=True)]
    inner, outer = high[:2] + low[2:], low[:2] + high[2:]
    intersection = _area(inner)
    union = _area(a) + _area(b) - intersection + 1e-6
    hull = _area(outer) + 1e-6
    return intersection / union, intersection / union - (hull - union) / hull


def _area(edges):
    left, top, right, bottom = edges
    return tf.maximum(right - left, 0.0) * tf.maximum(bottom - top, 0.0)
