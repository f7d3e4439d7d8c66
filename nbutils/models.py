"""Networks: images in, class probabilities out, with augmentation and scaling inside."""

from nbutils import backbones
from nbutils.backend import keras
from nbutils.layers import EvenLight, RandomSymmetry, SignedRoot

layers = keras.layers

CUSTOM = "custom_cnn"
SIZES = {CUSTOM: 128, backbones.LITE0: 200}  # pixels, side of the input; all others:
USUAL_SIZE = 224
FILTERS = (16, 32, 64, 128, 192)  # of the custom CNN's blocks


def default_size(name: str) -> int:
    """Return the side of a network's input in pixels where the user names none."""
    return SIZES.get(name, USUAL_SIZE)


def build(
    name: str, classes: int, seed: int, size: int, alpha: float, even_light: bool = False
) -> keras.Model:
    """Build the custom CNN, or a pretrained network by its name (see `pretrained`)."""
    if name == CUSTOM:
        return custom_cnn(classes, seed, size)
    return pretrained(name, classes, seed, size, alpha, even_light)


def custom_cnn(classes: int, seed: int, size: int = SIZES[CUSTOM]) -> keras.Model:
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


def pretrained(
    name: str,
    classes: int,
    seed: int,
    size: int,
    alpha: float,
    even_light: bool = False,
    weights: str | None = "imagenet",
) -> keras.Model:
    """Build a backbone with ImageNet weights and a new head.

    Gray becomes three channels and is scaled as the backbone's own training did.

    Parameters
    ----------
    name, alpha, weights
        As `backbones.add` takes them.
    classes
        How many to tell apart.
    even_light
        Whether the three channels are those of `EvenLight`; else they are equal.
    seed
        Of augmentation, dropout and the head.
    size
        Side of the square input in pixels.

    Returns
    -------
    Uncompiled functional model: (batch, size, size, 1) in [0, 255] to softmax probabilities. The
    layer `features` has what the head sees.
    """
    image = keras.Input((size, size, 1), name="image")
    x = RandomSymmetry(seed=seed, name="augmentation")(image)
    if even_light:
        x = EvenLight(name="three_channels")(x)
    else:
        x = layers.Concatenate(name="three_channels")([x, x, x])
    x = backbones.add(name, x, alpha, weights)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = SignedRoot(name="features")(x)
    x = layers.Dropout(0.2, seed=seed, name="dropout")(x)
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    model = keras.Model(image, probabilities, name=name)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.95
    return model


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
