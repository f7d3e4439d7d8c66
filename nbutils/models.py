"""Networks: images in, class probabilities out, with augmentation and scaling inside."""

from nbutils.backend import keras

layers, ops = keras.layers, keras.ops

SIZE = 128  # pixels, side of the custom CNN's input
FILTERS = (16, 24, 48, 96, 160)  # of its blocks


@keras.saving.register_keras_serializable(package="nbutils")
class RandomSymmetry(layers.Layer):
    """Turn and mirror each training image into one of the eight symmetries of the square.

    Square images, float, shape (batch, size, size, channels); unchanged at inference.
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        """Draw three coins an image: mirror left-right, mirror up-down, transpose."""
        if not training:
            return images
        coins = keras.random.uniform((3, ops.shape(images)[0], 1, 1, 1), seed=self.generator)
        images = ops.where(coins[0] < 0.5, ops.flip(images, 2), images)
        images = ops.where(coins[1] < 0.5, ops.flip(images, 1), images)
        return ops.where(coins[2] < 0.5, ops.transpose(images, (0, 2, 1, 3)), images)

    def get_config(self):
        """Return what rebuilds the layer."""
        return {**super().get_config(), "seed": self.seed}


def custom_cnn(classes: int, seed: int, size: int = SIZE) -> keras.Model:
    """Build the small convolutional network that is trained from scratch.

    Each image is standardised to mean 0 and deviation 1 after scaling: mills and cameras differ
    in light, and what augmentation by brightness and contrast would teach is then a given. Blocks
    pool before they normalise: a quarter of the work is left to do, for about the same function,
    since ReLU and the maximum commute.

    Parameters
    ----------
    classes
        How many to tell apart.
    seed
        Of augmentation and dropout.
    size
        Side of the square input in pixels, at least 32.

    Returns
    -------
    Uncompiled functional model: (batch, size, size, 1) in [0, 255] to softmax probabilities.
    """
    image = keras.Input((size, size, 1), name="image")
    x = RandomSymmetry(seed=seed, name="augmentation")(image)
    x = layers.Rescaling(1 / 255, name="rescale")(x)
    x = layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, epsilon=1e-4, name="standardise"
    )(x)
    for at, filters in enumerate(FILTERS, start=1):
        x = _block(x, at, filters, seed)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(
        128, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3), name="dense"
    )(x)
    x = layers.Dropout(0.3, seed=seed, name="dropout")(x)
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name="custom_cnn")


def _block(x, at: int, filters: int, seed: int):
    """Convolution, pooling, normalisation, ReLU, dropout.

    The first halves by its stride instead: fine detail is what tells pits from inclusions. The
    last keeps its size, for activation maps.
    """
    first, last = at == 1, at == len(FILTERS)
    x = layers.Conv2D(
        filters,
        5 if first else 3,
        strides=2 if first else 1,
        padding="same",
        use_bias=False,
        name=f"conv{at}",
    )(x)
    if not (first or last):
        x = layers.MaxPooling2D(name=f"pool{at}")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"norm{at}")(x)
    x = layers.ReLU(name=f"relu{at}")(x)
    return layers.Dropout(0.1, seed=seed + at, name=f"dropout{at}")(x)
