"""EfficientNetB0 (https://arxiv.org/abs/1905.11946) with a small head: real or fake."""

from __future__ import annotations

from pathlib import Path

import keras

from training.dataset import LABELS
from training.errors import UserError

# Keras' default of 0.99 remembers hundreds of steps: on some two thousand photos the moving
# statistics, which are all that inference sees, would lag behind the weights for epochs.
HEAD_MOMENTUM = 0.9


def build_model(
    *,
    backbone_weights: str,
    trainable_layers: int,
    input_size: int = 224,
    hidden_units: int = 256,
    l2: float = 1e-4,
    dropout: float = 0.4,
    seed: int | None = None,
) -> keras.Model:
    """Return the network: RGB photos `[batch, size, size, 3]`, 0 to 255, to probabilities `[batch,
    2]` of real and fake.

    The head sits on `backbone.output` rather than around a nested model, so that the last feature
    map stays reachable for Grad-CAM.

    Args:
        backbone_weights: `imagenet` (downloaded by Keras), `none` (random), or the path of a
            weights file.
        trainable_layers: the last layers of the backbone that train; the others keep their weights,
            and their batch normalisation its statistics.
        input_size: side of the photos in px.
        hidden_units: width of the head.
        l2: weight of the head's L2 penalty.
        dropout: share of the head's activations that is dropped while training.
        seed: seed of the head's weights and dropout.

    Raises:
        UserError: the weights are missing, cannot be downloaded, or do not fit.
    """
    backbone = _load_backbone(backbone_weights, input_size)
    first_trainable = len(backbone.layers) - trainable_layers
    for index, layer in enumerate(backbone.layers):
        layer.trainable = index >= first_trainable
    layers = keras.layers
    features = layers.GlobalAveragePooling2D(name="pooled")(backbone.output)
    hidden = layers.Dense(
        hidden_units,
        activation="relu",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        kernel_regularizer=keras.regularizers.L2(l2),
        name="hidden",
    )(features)
    normalised = layers.BatchNormalization(momentum=HEAD_MOMENTUM, name="head_norm")(hidden)
    kept = layers.Dropout(dropout, seed=seed, name="head_dropout")(normalised)
    probabilities = layers.Dense(
        len(LABELS),
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name="probabilities",
    )(kept)
    return keras.Model(backbone.input, probabilities, name="deepfake_cnn")


def _load_backbone(weights: str, input_size: int) -> keras.Model:
    # With "imagenet" Keras builds one more rescaling layer than with a path, because its own file
    # expects it.
    named = {"imagenet": "imagenet", "none": None}
    if weights not in named and not Path(weights).is_file():
        raise UserError(
            f"--backbone-weights {weights} is not a file: give `imagenet`, `none` or the path of a "
            "weights file."
        )
    try:
        return keras.applications.EfficientNetB0(
            include_top=False,
            weights=named.get(weights, weights),
            input_shape=(input_size, input_size, 3),
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"--backbone-weights {weights} does not hold weights of EfficientNetB0 without its top "
            f"({str(error).splitlines()[0]})."
        ) from error
    except Exception as error:
        if "URL fetch failure" not in str(error):  # Keras raises a plain Exception for it
            raise
        raise UserError(
            "The ImageNet weights could not be downloaded: check the network, put the file that "
            "you have under `$KERAS_HOME/models/efficientnetb0_notop.h5`, or give "
            "--backbone-weights PATH."
        ) from error
