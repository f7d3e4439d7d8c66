"""Which layers' maps are looked at: the last, the last finer ones, and those of texture."""

from nbutils.backend import keras
from nbutils.paths import UserError


def last(model: keras.Model) -> str:
    """Return the layer of the last maps: what was found, on the coarsest grid."""
    return _activations(model)[-1].name


def finer(model: keras.Model) -> str:
    """Return the last layer whose maps are at least twice as fine as the last."""
    found = _activations(model)
    fine = [layer for layer in found if _side(layer) >= 2 * _side(found[-1])]
    return (fine or found)[-1].name


def middle(model: keras.Model) -> str:
    """Return the middle one of the layers whose maps have a sixteenth of the image's side.

    There texture is told, and classes are not yet.
    """
    found = _activations(model)
    side = min(map(_side, found), key=lambda side: abs(side - model.input_shape[1] / 16))
    fitting = [layer for layer in found if _side(layer) == side]
    return fitting[len(fitting) // 2].name


def _activations(model: keras.Model) -> list:
    """Return the layers that end in maps: the activations, or convolutions if there are none."""
    activations = keras.layers.ReLU, keras.layers.Activation
    for kinds in (activations, keras.layers.Conv2D):
        found = [layer for layer in model.layers if isinstance(layer, kinds) and _has_maps(layer)]
        if found:
            return found
    raise UserError(f"model {model.name!r} has no convolution: activation maps need one")


def _has_maps(layer) -> bool:
    return len(layer.output.shape) == 4


def _side(layer) -> int:
    return layer.output.shape[1]
