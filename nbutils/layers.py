"""Layers of our own, inside the saved models: augmentation, even light, and signed roots."""

from nbutils.backend import keras

layers, ops = keras.layers, keras.ops


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


@keras.saving.register_keras_serializable(package="nbutils")
class SignedRoot(layers.Layer):
    """Take the signed square root of features: x / sqrt(|x| + 0.001), smooth at zero.

    It keeps a few strong channels from drowning the others: "power normalisation" of Perronnin,
    Sánchez and Mensink, ECCV 2010.
    """

    def call(self, x):
        """Transform element by element."""
        return x / ops.sqrt(ops.abs(x) + 1e-3)


@keras.saving.register_keras_serializable(package="nbutils")
class EvenLight(layers.Layer):
    """Make three channels of one: as it is, standardised, and without slow light, standardised.

    What a lamp or an exposure does to a texture is taken from the third, whatever was seen in
    training; the first still has how bright the steel is. Square images, float, shape (batch,
    size, size, 1) in [0, 255]; all three channels have gray values' usual range.

    Planes lie one behind the other until the end: small runtimes mix channels slowly.
    """

    def call(self, images):
        """Standardise with and without the slow changes of light."""
        side = images.shape[1]
        plane = ops.reshape(images, (-1, 1, side, side))
        slow = ops.reshape(_slow(images), (-1, 1, side, side))
        both = ops.concatenate([plane, plane - slow], axis=1)
        both -= ops.mean(both, axis=(2, 3), keepdims=True)
        variance = ops.mean(ops.square(both), axis=(2, 3), keepdims=True)
        both = both * (40 * ops.rsqrt(variance + 4)) + 127.5
        return ops.transpose(ops.concatenate([plane, both], axis=1), (0, 2, 3, 1))


def _slow(images):
    """Return the slow changes of light: means over blocks, smoothed, and drawn large again.

    One side after the other is drawn large, with the other as channels.
    """
    side = images.shape[1]
    low = ops.average_pool(images, 8, padding="same")
    low = ops.average_pool(low, 9, strides=1, padding="same")
    low = ops.image.resize(ops.transpose(low, (0, 2, 3, 1)), (side, 1), interpolation="bilinear")
    low = ops.transpose(low, (0, 3, 2, 1))
    return ops.image.resize(low, (side, 1), interpolation="bilinear")
