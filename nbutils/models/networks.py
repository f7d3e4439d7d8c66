"""Networks from images to class probabilities, with augmentation and scaling inside."""

from nbutils.disk import UserError
from nbutils.models import backbones
from nbutils.models.layers import FlatField, Moments, PowerNormalization, RandomSymmetry
from nbutils.runtime import keras

layers = keras.layers
CUSTOM_CNN = "custom_cnn"
SIZES = {CUSTOM_CNN: 128, backbones.LITE0: 200}  # pixels, side of the input; all others:
PRETRAINED_SIZE = 224
MIN_SIZE, MAX_SIZE = 32, 2048  # pixels
FILTERS = (16, 32, 64, 128, 192)  # of the custom CNN's blocks
LEVELS = 3  # grids of feature maps that are joined
FINEST = 8  # pixels that a point of the finest of them stands for


def default_name(data: str) -> str:
    """Return the network that is trained on a data set of this name if the user names none.

    The custom CNN needs images by the hundred; other data sets may have fewer.
    """
    return CUSTOM_CNN if data in ("NEU-DET", "SYNTHETIC") else "mobilenet_v2"


def input_size(name: str, chosen: int | None = None) -> int:
    """Return the side of a network's input in pixels, its own where none is chosen.

    Raises UserError for one that cannot be.
    """
    if chosen is None:
        return SIZES.get(name, PRETRAINED_SIZE)
    if not isinstance(chosen, int) or not MIN_SIZE <= chosen <= MAX_SIZE:
        raise UserError(f"SIZE {chosen!r}: give {MIN_SIZE} to {MAX_SIZE} pixels")
    return chosen


def build(
    name: str, classes: int, seed: int, size: int, alpha: float, flat_field: bool = False
) -> keras.Model:
    """Build the custom CNN, or a pretrained network by its name (see `pretrained`)."""
    if name == CUSTOM_CNN:
        return custom_cnn(classes, seed, size)
    return pretrained(name, classes, seed, size, alpha, flat_field)


def freeze_batch_norm(model: keras.Model) -> None:
    """Have a model's batch normalisation keep its statistics when it is trained.

    A head that was fitted to features under these statistics would see other features under those
    of a batch, and the first steps would destroy what the backbone has learned.
    """
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def convolution_block(x, number: int, filters: int, seed: int):
    """Convolution, pooling, normalisation, ReLU, dropout.

    The first halves by its stride instead, which keeps the fine detail that distinguishes pits from
    inclusions. The last keeps its size, for activation maps.
    """
    first, last = number == 1, number == len(FILTERS)
    x = layers.Conv2D(
        filters,
        5 if first else 3,
        strides=2 if first else 1,
        padding="same",
        use_bias=False,
        name=f"conv{number}",
    )(x)
    if not (first or last):
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
    x = layers.ReLU(name=f"relu{number}")(x)
    return layers.Dropout(0.1, seed=seed + number, name=f"dropout{number}")(x)


def custom_cnn(classes: int, seed: int, size: int = SIZES[CUSTOM_CNN]) -> keras.Model:
    """Build the small convolutional network that is trained from scratch.

    Each image is standardised to mean 0 and deviation 1, since illumination differs between mills
    and cameras; augmentation of brightness and contrast is then not needed. Blocks pool before they
    normalise, which leaves a quarter of the work, for about the same function: ReLU and the maximum
    commute.

    Parameters
    ----------
    classes
        How many there are.
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
    for number, filters in enumerate(FILTERS, start=1):
        x = convolution_block(x, number, filters, seed)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(
        128, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3), name="dense"
    )(x)
    x = layers.Dropout(0.3, seed=seed, name="dropout")(x)
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name="custom_cnn")


def three_channels(gray, flat_field: bool):
    """Return tensors (batch, size, size, 3) of gray ones, (batch, size, size, 1), in [0, 255]."""
    if flat_field:
        return FlatField(name="three_channels")(gray)
    return layers.Concatenate(name="three_channels")([gray] * 3)


def has_flat_field(model: keras.Model) -> bool:
    """Tell whether a network's three channels are those of `FlatField`."""
    return any(isinstance(layer, FlatField) for layer in model.layers)


def pretrained(
    name: str,
    classes: int,
    seed: int,
    size: int,
    alpha: float,
    flat_field: bool = False,
    weights: str | None = "imagenet",
    substitute: bool = True,
) -> keras.Model:
    """Build a backbone with ImageNet weights and a new head.

    Gray becomes three channels, scaled as in the backbone's own training.

    Parameters
    ----------
    name, alpha, weights
        As `backbones.apply_backbone` takes them.
    classes
        How many there are.
    flat_field
        Whether the three channels are those of `FlatField`; else they are equal.
    substitute
        Whether the weights and channels of the network that ships may stand in for ImageNet weights
        of it that are not to be had: they have learned from NEU-DET.
    seed
        Of augmentation, dropout and the head.
    size
        Side of the square input in pixels.

    Returns
    -------
    Uncompiled functional model: (batch, size, size, 1) in [0, 255] to softmax probabilities. The
    layer `features` is the input of the head: the pooled last feature maps, which know classes of
    things, and mean and deviation of finer ones, which know texture.
    """
    image = keras.Input((size, size, 1), name="image")
    gray = RandomSymmetry(seed=seed, name="augmentation")(image)
    maps = _feature_maps(name, gray, alpha, flat_field, weights, substitute)
    pooled = [layers.GlobalAveragePooling2D(name="pool")(maps)]
    for layer in pyramid(keras.Model(image, maps)):
        if side(layer) > maps.shape[1]:
            pooled.append(Moments(name=f"moments_{side(layer)}")(layer.output))
    x = PowerNormalization(name="features")(layers.Concatenate(name="pooled")(pooled))
    x = layers.Dropout(0.2, seed=seed, name="dropout")(x)
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    model = keras.Model(image, probabilities, name=name)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.95
    return model


def _feature_maps(
    name: str, gray, alpha: float, flat_field: bool, weights: str | None, substitute: bool
):
    """Apply a backbone to gray images: its last feature maps."""
    try:
        return backbones.apply_backbone(name, three_channels(gray, flat_field), alpha, weights)
    except backbones.MissingWeights as error:
        if not substitute or not backbones.ships(name, alpha):
            raise
        print(f"{error}; so the backbone of the model that ships is taken, with its FLAT_FIELD")
        return backbones.apply_shipped(three_channels(gray, flat_field=True))


def feature_extractor(model: keras.Model) -> keras.Model:
    """Return the part of a `pretrained` network from images to the features that its head sees."""
    return keras.Model(model.input, model.get_layer("features").output, name=model.name)


def last_maps(model: keras.Model) -> str:
    """Return the name of the last layer of feature maps, on the coarsest grid."""
    return activations(model)[-1].name


def finer_maps(model: keras.Model) -> str:
    """Return the name of the last layer whose maps are at least twice as fine as the last ones."""
    all_maps = activations(model)
    finer = [layer for layer in all_maps if side(layer) >= 2 * side(all_maps[-1])]
    return (finer or all_maps)[-1].name


def middle_maps(model: keras.Model) -> str:
    """Return the name of the middle one of the layers whose maps have 1/16 of the image's side.

    These maps describe texture, and not yet classes.
    """
    all_maps = activations(model)
    grid = min(map(side, all_maps), key=lambda each: abs(each - model.input_shape[1] / 16))
    of_side = [layer for layer in all_maps if side(layer) == grid]
    return of_side[len(of_side) // 2].name


def pyramid(model: keras.Model) -> list:
    """Return the widest, last layer of feature maps on each grid, from coarse to fine.

    They are the grids of up to an eighth of the image's side, three at most.
    """
    by_side: dict[int, list] = {}
    for layer in activations(model):
        by_side.setdefault(side(layer), []).append(layer)
    finest = -(-model.input_shape[1] // FINEST)
    grids = sorted(grid for grid in by_side if grid <= finest)[-LEVELS:]
    return [max(reversed(by_side[grid]), key=lambda each: each.output.shape[-1]) for grid in grids]


def activations(model: keras.Model) -> list:
    """Return the layers of feature maps: the activations, or convolutions if there are none."""
    for kinds in ((layers.ReLU, layers.Activation), layers.Conv2D):
        found = [layer for layer in model.layers if isinstance(layer, kinds) and _has_maps(layer)]
        if found:
            return found
    raise UserError(f"model {model.name!r} has no convolution: activation maps need one")


def _has_maps(layer) -> bool:
    return len(layer.output.shape) == 4


def side(layer) -> int:
    """Return the side of a layer's maps in points."""
    return layer.output.shape[1]
