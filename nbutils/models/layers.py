"""Custom layers of the saved models: augmentation, flat-field correction, power normalisation."""

from nbutils.runtime import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="nbutils")
class RandomSymmetry(keras.layers.Layer):
    """Turn and mirror each training image by one of the eight symmetries of the square.

    Square images, float, shape (batch, size, size, channels); unchanged at inference.
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        """Draw for each image whether to flip left-right, flip up-down, and transpose."""
        if not training:
            return images
        draws = keras.random.uniform((3, ops.shape(images)[0], 1, 1, 1), seed=self.generator)
        images = ops.where(draws[0] < 0.5, ops.flip(images, 2), images)
        images = ops.where(draws[1] < 0.5, ops.flip(images, 1), images)
        return ops.where(draws[2] < 0.5, ops.transpose(images, (0, 2, 1, 3)), images)

    def get_config(self):
        """Return what rebuilds the layer."""
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="nbutils")
class PowerNormalization(keras.layers.Layer):
    """Take the signed square root of features: x / sqrt(|x| + 0.001), smooth at zero.

    It keeps a few strong channels from dominating the others (Perronnin, Sánchez and Mensink, ECCV
    2010).
    """

    def call(self, x):
        """Transform element by element."""
        return x / ops.sqrt(ops.abs(x) + 1e-3)


@keras.saving.register_keras_serializable(package="nbutils")
class Moments(keras.layers.Layer):
    """Pool feature maps to the mean and the standard deviation of each channel.

    (batch, rows, columns, channels) becomes (batch, 2 * channels). They describe a texture,
    wherever it lies.
    """

    def call(self, maps):
        """Join the means and the deviations; the root has a slope at zero."""
        means = ops.mean(maps, axis=(1, 2), keepdims=True)
        variances = ops.mean(ops.square(maps - means), axis=(1, 2))
        return ops.concatenate([means[:, 0, 0], ops.sqrt(variances + 1e-6)], axis=-1)


@keras.saving.register_keras_serializable(package="nbutils")
class FlatField(keras.layers.Layer):
    """Make three channels: the image, the image standardised, and flat-field corrected.

    Flat-field correction subtracts the slowly varying illumination, and standardises what remains:
    the third channel hardly depends on lamp and exposure. The first keeps the brightness of the
    steel. Square images, float, shape (batch, size, size, 1) in [0, 255]; all three channels have
    about the range of gray values.

    The channels are separate planes until the end, since small runtimes interleave slowly.
    """

    def call(self, images):
        """Standardise with and without the illumination."""
        side = images.shape[1]
        plane = ops.reshape(images, (-1, 1, side, side))
        illumination = ops.reshape(_illumination(images), (-1, 1, side, side))
        both = ops.concatenate([plane, plane - illumination], axis=1)
        both -= ops.mean(both, axis=(2, 3), keepdims=True)
        variance = ops.mean(ops.square(both), axis=(2, 3), keepdims=True)
        both = both * (40 * ops.rsqrt(variance + 4)) + 127.5
        return ops.transpose(ops.concatenate([plane, both], axis=1), (0, 2, 3, 1))


def _illumination(images):
    """Estimate the illumination: means over blocks, smoothed, and enlarged again.

    One side is enlarged after the other, with the other one as channels.
    """
    side = images.shape[1]
    low = ops.average_pool(images, 8, padding="same")
    low = ops.average_pool(low, 9, strides=1, padding="same")
    low = ops.image.resize(ops.transpose(low, (0, 2, 3, 1)), (side, 1), interpolation="bilinear")
    low = ops.transpose(low, (0, 3, 2, 1))
    return ops.image.resize(low, (side, 1), interpolation="bilinear")
