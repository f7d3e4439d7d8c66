"""Keras models as predictors, and as `.tflite` files: probabilities, and what doubt is told by."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nbutils import feature_maps, litert, paths
from nbutils.backend import keras, tf
from nbutils.layers import SignedRoot
from nbutils.predictor import Predictor
from nbutils.trust import Trust

ops = keras.ops


class Network:
    """A Keras model that answers batch after batch."""

    def __init__(self, model: keras.Model):
        self._model = model

    def map(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Run batches one after the other."""
        return (self._model.predict_on_batch(batch) for batch in batches)


def predictor(
    model: keras.Model,
    classes: Sequence[str],
    name: str,
    views: int = 1,
    trust: Trust | None = None,
) -> Predictor:
    """Make a predictor of a model; arguments as `Predictor` takes them."""
    network = Network(answering(model))
    return Predictor(network, classes, name, model.input_shape[1], views, trust, model)


def faster(slow: Predictor, file: Path) -> Predictor:
    """Return the same predictor run by LiteRT; its network is written to a `.tflite` file."""
    write(answering(slow.model), file)
    parts = slow.classes, slow.name, slow.size, slow.views, slow.trust, slow.model
    return Predictor(litert.Network(file), *parts)


def write(model: keras.Model, file: Path) -> None:
    """Write a model of one input and one output as a `.tflite` file in float32.

    The converter is given the traced function: Keras' own export would trace it three times, which
    takes more than twice as long.
    """
    [asked] = model.inputs
    signature = tf.TensorSpec(asked.shape, tf.float32, name="image")
    traced = tf.function(lambda image: model(image, training=False), input_signature=[signature])
    holder = tf.Module()
    holder.weights = [weight.value for weight in model.weights]
    notes = tf.get_logger()
    level = notes.level
    notes.setLevel("ERROR")
    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [traced.get_concrete_function()], holder
        )
        with paths.replacing(file) as beside:
            beside.write_bytes(converter.convert())
    finally:
        notes.setLevel(level)


def answering(model: keras.Model) -> keras.Model:
    """Return the network that answers with one row an image: probabilities, then the embedding.

    The embedding is what novelty is measured in: mean and deviation of the channels in the middle
    of the network.
    """
    maps = model.get_layer(feature_maps.middle(model)).output
    moments = [ops.mean(maps, axis=(1, 2)), ops.std(maps, axis=(1, 2))]
    embedding = SignedRoot()(ops.concatenate(moments, axis=-1))
    return keras.Model(model.inputs, ops.concatenate([model.outputs[0], embedding], axis=-1))
