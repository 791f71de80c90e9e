"""EfficientNetB0 (https://arxiv.org/abs/1905.11946) with a small head: real or fake.

There are two heads. `pooled` averages the last feature map and classifies the mean. `evidence`
gives every place of the photo the log-odds that it was changed, and pools those. So a changed eye
is not averaged away, and the verdict is computed from the map.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import keras
import numpy as np

from training.data.rows import LABELS
from training.errors import UserError

# Keras' default of 0.99 averages over hundreds of steps. With some two thousand photos, the moving
# statistics, which inference uses, would lag behind the weights for epochs.
HEAD_MOMENTUM = 0.9
# On CPUs TensorFlow's own kernels are faster than compiled ones; other backends need compilation.
JIT_COMPILE = False if keras.config.backend() == "tensorflow" else "auto"
# The last layer with a stride of 16 px: twice as fine as the backbone's output.
FINE_LAYER = "block5c_add"
EVIDENCE = "evidence"  # the head, and its layer of log-odds `[batch, rows, columns, 1]`
HEADS = ("pooled", EVIDENCE)


def build_model(
    *,
    backbone_weights: str,
    trainable_layers: int,
    head: str = "pooled",
    input_size: int = 224,
    hidden_units: int = 256,
    l2: float = 1e-4,
    dropout: float = 0.4,
    seed: int | None = None,
) -> keras.Model:
    """Return the network, from photos to probabilities of real and fake.

    Photos are `[batch, size, size, 3]`, RGB, 0 to 255; probabilities are `[batch, 2]`. The head
    sits on `backbone.output` rather than around a nested model, so that Grad-CAM can reach the last
    feature map.

    Args:
        backbone_weights: `imagenet` (downloaded by Keras), `none` (random), the path of a weights
            file, or that of a `.keras` file with a whole network of this kind, whose head is loaded
            as well.
        trainable_layers: number of the backbone's last layers that train; the others keep their
            weights and the statistics of their batch normalisation.
        head: one of `HEADS`.
        input_size: side of the photos in px.
        hidden_units: width of the head.
        l2: weight of the pooled head's L2 penalty.
        dropout: share of the head's activations dropped while training.
        seed: seed of the head's weights and dropout.

    Raises:
        UserError: the weights are missing, cannot be downloaded, or do not fit; or the head is
            unknown or does not fit the input size.
    """
    _check_head(head, input_size)
    whole = backbone_weights.endswith(".keras")
    backbone = _load_backbone("none" if whole else backbone_weights, input_size)
    _freeze_but_the_last(backbone, trainable_layers)
    if head == EVIDENCE:
        probabilities = _evidence_head(backbone, hidden_units, dropout, seed)
    else:
        probabilities = _pooled_head(backbone.output, hidden_units, l2, dropout, seed)
    model = keras.Model(backbone.input, probabilities, name="deepfake_cnn")
    if head == EVIDENCE:  # at first, the score is the pooled log-odds themselves
        model.get_layer("probabilities").set_weights([np.array([[-0.5, 0.5]]), np.zeros(2)])
    if whole:
        _start_from(Path(backbone_weights), model)
    return model


def _freeze_but_the_last(backbone: keras.Model, layers: int) -> None:
    """Make the last `layers` layers of a backbone trainable, and freeze the others."""
    first_trainable = len(backbone.layers) - layers
    for index, layer in enumerate(backbone.layers):
        layer.trainable = index >= first_trainable


def _check_head(head: str, input_size: int) -> None:
    if head not in HEADS:
        raise UserError(f"--set head={head} is neither `pooled` nor `evidence`.")
    if head == EVIDENCE and input_size % 32:
        raise UserError(
            f"--input-size {input_size} is not a multiple of 32, which --set head=evidence needs."
        )


def _start_from(path: Path, model: keras.Model) -> None:
    """Copy the weights of a saved network of the same kind and any input size."""
    if not path.is_file():
        raise UserError(f"--backbone-weights {path} is not a file: give the path of a network.")
    try:
        saved = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--backbone-weights {path} cannot be loaded as a Keras network: give one that `train` "
            "made."
        ) from error
    try:
        copy_weights(saved, model)
    except (ValueError, StopIteration) as error:
        raise UserError(
            f"--backbone-weights {path} is a network of another kind: give one that `train` made "
            "with the same `head` and `hidden_units`."
        ) from error


def _pooled_head(features, hidden_units: int, l2: float, dropout: float, seed: int | None):
    layers = keras.layers
    pooled = layers.GlobalAveragePooling2D(name="pooled")(features)
    hidden = layers.Dense(
        hidden_units,
        activation="relu",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        kernel_regularizer=keras.regularizers.L2(l2),
        name="hidden",
    )(pooled)
    normalised = layers.BatchNormalization(momentum=HEAD_MOMENTUM, name="head_norm")(hidden)
    kept = layers.Dropout(dropout, seed=seed, name="head_dropout")(normalised)
    return layers.Dense(
        len(LABELS),
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name="probabilities",
    )(kept)


def _evidence_head(backbone: keras.Model, hidden_units: int, dropout: float, seed: int | None):
    """Return probabilities from the log-odds of every place, by its fine and its deep features.

    The log-odds `[batch, places]` are pooled as the logarithm of their mean odds: near their
    maximum if few places stand out, their mean if all agree. All layers are Keras' own, so that the
    files load without this project.
    """
    layers = keras.layers

    def convolve(features, units: int, name: str, **options):
        kernel = keras.initializers.GlorotUniform(seed)
        return layers.Conv2D(units, 1, kernel_initializer=kernel, name=name, **options)(features)

    fine = convolve(backbone.get_layer(FINE_LAYER).output, hidden_units, "evidence_fine")
    coarse = convolve(backbone.output, hidden_units, "evidence_coarse")
    enlarged = layers.UpSampling2D(interpolation="bilinear", name="evidence_enlarged")(coarse)
    joined = layers.Add(name="evidence_joined")([fine, enlarged])
    normalised = layers.BatchNormalization(momentum=HEAD_MOMENTUM, name="evidence_norm")(joined)
    hidden = layers.Activation("relu", name="evidence_hidden")(normalised)
    kept = layers.SpatialDropout2D(dropout, seed=seed, name="evidence_dropout")(hidden)
    evidence = convolve(kept, 1, EVIDENCE)
    return _pool_evidence(evidence)


def _pool_evidence(evidence):
    layers = keras.layers
    places = math.prod(evidence.shape[1:])
    log_odds = layers.Reshape((places,), name="evidence_list")(evidence)
    shares = layers.Activation("log_softmax", name="evidence_shares")(log_odds)

    def mean(values, name: str):
        column = layers.Reshape((places, 1), name=f"{name}_column")(values)
        return layers.GlobalAveragePooling1D(name=name)(column)

    # As log_softmax(x) = x - log(sum(exp(x))), the means differ by log(sum(exp(x))).
    log_sum = layers.Subtract(name="evidence_log_sum")(
        [mean(log_odds, "evidence_mean"), mean(shares, "evidence_shares_mean")]
    )
    pooled = layers.Rescaling(1.0, -math.log(places), name="evidence_pooled")(log_sum)
    return layers.Dense(
        len(LABELS),
        activation="softmax",
        name="probabilities",
    )(pooled)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of a network to another that differs only in its input size.

    They include the statistics that normalise photos, which Keras applies only when told to. In a
    network that began with `imagenet`, Keras has one more rescaling; it is folded into them.

    Raises:
        ValueError: the networks have different layers.
    """
    target.set_weights(source.get_weights())
    norm = photo_normalization(target)
    scale = _scale_after_normalization(source) / _scale_after_normalization(target)
    norm.adapt_variance.assign(norm.adapt_variance / scale.reshape(norm.adapt_variance.shape) ** 2)
    norm.finalize_state()


def photo_normalization(network: keras.Model) -> keras.layers.Normalization:
    """Return the layer that normalises photos, after they are rescaled to 0 to 1."""
    normalization = keras.layers.Normalization
    return next(layer for layer in network.layers if isinstance(layer, normalization))


def _scale_after_normalization(network: keras.Model) -> np.ndarray:
    """Return the factor `[3]` of each channel between normalisation and first convolution."""
    following = network.layers[network.layers.index(photo_normalization(network)) + 1]
    scale = following.scale if isinstance(following, keras.layers.Rescaling) else 1.0
    return np.broadcast_to(np.asarray(scale, np.float32), 3)


def _load_backbone(weights: str, input_size: int) -> keras.Model:
    loaded = _load_as_keras(weights, input_size)
    if weights != "imagenet":
        return loaded
    # For its ImageNet weights Keras builds one more rescaling than for others. Without it all
    # networks are built alike, and any of them can start from any other.
    backbone = _load_as_keras("none", input_size)
    copy_weights(loaded, backbone)
    return backbone


def _load_as_keras(weights: str, input_size: int) -> keras.Model:
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
