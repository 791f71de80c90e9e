"""Networks for tests: a small one in place of EfficientNetB0, and answers that differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import pytest

from training.fit.network import FINE_LAYER


def small_backbone(weights: str, input_size: int) -> keras.Model:
    """Return a backbone with random weights in place of `training.fit.network._load_backbone`.

    Layers that the project's code names keep their names and strides from EfficientNetB0.
    """
    layers = keras.layers

    def block(inputs, name: str, convolution: keras.layers.Layer, activated: str):
        normalised = layers.BatchNormalization(name=f"{name}_bn")(convolution(inputs))
        return layers.Activation("swish", name=activated)(normalised)

    photos = keras.Input((input_size, input_size, 3))
    features = layers.Normalization()(layers.Rescaling(1 / 255)(photos))
    common = {"padding": "same", "use_bias": False}
    stem = layers.Conv2D(8, 5, strides=4, name="stem_conv", **common)
    features = block(features, "stem", stem, "stem_activation")
    fine = layers.Conv2D(16, 5, strides=4, name="block1a_project_conv", **common)
    features = block(features, "block1a", fine, FINE_LAYER)
    coarse = layers.DepthwiseConv2D(3, strides=2, name="block7a_dwconv", **common)
    features = block(features, "block7a", coarse, "block7a_activation")
    top = layers.Conv2D(32, 1, name="top_conv", **common)
    return keras.Model(photos, block(features, "top", top, "top_activation"))


@contextmanager
def small_networks() -> Iterator[None]:
    """Build every network in this context on the small backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fit.network._load_backbone", small_backbone)
        yield


def spread_answers(model: keras.Model, faces: np.ndarray) -> keras.Model:
    """Give a network with random weights answers that differ by face; return the network.

    Two epochs leave all answers near one half, where a wrong graph would not show.

    Args:
        model: a network with the head `pooled`.
        faces: `float32` `[photos, size, size, 3]`.
    """
    for layer in model.layers:  # statistics of these faces, which random weights lack
        layer.trainable = True
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(20):
        model(faces, training=True)
    log_odds = np.diff(np.log(model.predict(faces, verbose=0)))[:, 0]
    kernel, bias = model.get_layer("probabilities").get_weights()
    factor = 1.5 / log_odds.std()
    centred = bias - np.array([-0.5, 0.5]) * log_odds.mean()
    model.get_layer("probabilities").set_weights([kernel * factor, centred * factor])
    assert np.ptp(model.predict(faces, verbose=0)[:, 1]) > 0.5
    return model
