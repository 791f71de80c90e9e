"""The heatmap inside the graph: which places of the photo speak for fake.

A network with the head `evidence` holds it already. For one with the head `pooled` it is Grad-CAM:
Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391. After global average pooling the
gradient is the same at every place of the feature map, so that it takes the head's gradient alone,
which a few multiplications give exactly: no gradient tape, and it can be exported.
"""

from __future__ import annotations

import keras

from training.fit.network import EVIDENCE, copy_weights


class GradCam(keras.layers.Layer):
    """Maps (last feature map, head's hidden activations) to the Grad-CAM map for the fake class.

    The score explained is the log-odds of fake, the difference of the two logits: a softmax does
    not depend on what both logits share, so neither should its explanation.

    Args:
        hidden, norm, output: the head's layers, whose weights are read; the hidden layer's
            activation is ReLU.
    """

    def __init__(
        self,
        hidden: keras.layers.Dense,
        norm: keras.layers.BatchNormalization,
        output: keras.layers.Dense,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden, self.norm, self.output_layer = hidden, norm, output

    def hidden_gradient(self, activations):
        """Return the gradient of the score `[batch, units]` before the hidden layer's ReLU."""
        towards_fake = self.output_layer.kernel[:, 1] - self.output_layer.kernel[:, 0]
        return keras.ops.cast(activations > 0, "float32") * (_scale(self.norm) * towards_fake)

    def call(self, inputs):
        """Turn `[batch, rows, columns, channels]` and `[batch, units]` into the map `[batch, rows,
        columns]`, >= 0."""
        ops = keras.ops
        features, activations = inputs
        hidden_gradient = self.hidden_gradient(activations)
        # Projecting every place, rather than the gradient back, uses the hidden layer's kernel as
        # it lies in the graph already: a transposed copy would cost 1.3 MB.
        projected = ops.matmul(features, self.hidden.kernel)
        places = features.shape[1] * features.shape[2]
        return ops.relu(ops.sum(projected * hidden_gradient[:, None, None, :], axis=-1) / places)


class EvidenceMap(keras.layers.Layer):
    """Maps evidence to what of it speaks for fake.

    The score is the pooled evidence, scaled and shifted by the last layer. Evidence that were the
    same everywhere would leave the score undecided at one value: what lies above it speaks for
    fake.

    Args:
        output: the last layer, whose weights are read.
    """

    def __init__(self, output: keras.layers.Dense, **kwargs) -> None:
        super().__init__(**kwargs)
        self.output_layer = output

    def call(self, evidence):
        """Turn log-odds `[batch, rows, columns, 1]` into the map `[batch, rows, columns]`, >= 0."""
        kernel, bias = self.output_layer.kernel, self.output_layer.bias
        scale = kernel[0, 1] - kernel[0, 0]
        return keras.ops.relu(scale * evidence[..., 0] + (bias[1] - bias[0]))


def has_evidence(model: keras.Model) -> bool:
    """Return whether a network has the head `evidence`."""
    return any(layer.name == EVIDENCE for layer in model.layers)


def with_heatmap(model: keras.Model) -> keras.Model:
    """Return the network of `training.fit.network` with a second output.

    Returns:
        A model from photos to `{"probabilities": [batch, 2], "heatmap": [batch, rows, columns]}`.
    """
    if has_evidence(model):
        evidence = model.get_layer(EVIDENCE).output
        heatmap = EvidenceMap(model.get_layer("probabilities"), name="heatmap")(evidence)
    else:
        head = [model.get_layer(name) for name in ("hidden", "head_norm", "probabilities")]
        heatmap = GradCam(*head, name="heatmap")([model.get_layer("pooled").input, head[0].output])
    return keras.Model(
        model.input, {"probabilities": model.output, "heatmap": heatmap}, name=model.name
    )


class HiResCam(GradCam):
    """Maps (top_conv's and top_bn's output, head's hidden activations) to the HiResCAM map of
    top_conv's input.

    Method: Draelos and Carin 2020, https://arxiv.org/abs/2011.08891: features times gradient, place
    by place. On the last feature map, before global average pooling, it equals Grad-CAM. One layer
    below, at block7a, it does not, and as a 1x1 convolution mixes no places it needs no way back
    through the kernel: features times gradient sum up to the same on both sides of it.

    Args:
        top_norm: the normalisation that follows the convolution; then comes swish.
        hidden, norm, output: as those of `GradCam`.
    """

    def __init__(self, top_norm: keras.layers.BatchNormalization, *head, **kwargs) -> None:
        super().__init__(*head, **kwargs)
        self.top_norm = top_norm

    def call(self, inputs):
        """Turn `[batch, rows, columns, channels]` twice and `[batch, units]` into the map `[batch,
        rows, columns]`, >= 0."""
        convolved, normalised, activations = inputs
        slope = _swish_slope(normalised) * _scale(self.top_norm)
        return super().call([convolved * slope, activations])


class LayerCam(GradCam):
    """Maps (top_conv's input and top_bn's output, head's hidden activations) to the LayerCAM map.

    Method: Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943: features times the positive
    part of their gradient, place by place.

    Args:
        top_conv: the 1x1 convolution.
        top_norm: the normalisation that follows it; then comes swish.
        hidden, norm, output: as those of `GradCam`.
    """

    def __init__(self, top_conv: keras.layers.Conv2D, top_norm, *head, **kwargs) -> None:
        super().__init__(*head, **kwargs)
        self.top_conv, self.top_norm = top_conv, top_norm

    def call(self, inputs):
        """Turn `[batch, rows, columns, channels]` twice and `[batch, units]` into the map `[batch,
        rows, columns]`, >= 0."""
        ops = keras.ops
        features, normalised, activations = inputs
        pooled_gradient = ops.matmul(
            self.hidden_gradient(activations), ops.transpose(self.hidden.kernel)
        )
        slope = _swish_slope(normalised) * _scale(self.top_norm)
        gradient = ops.matmul(
            slope * pooled_gradient[:, None, None, :], ops.transpose(self.top_conv.kernel[0, 0])
        )
        places = features.shape[1] * features.shape[2]
        return ops.relu(ops.sum(ops.relu(gradient) * features, axis=-1) / places)


def with_alternatives(model: keras.Model) -> keras.Model:
    """Return the maps of block7a that cost one forward pass, to be compared with Grad-CAM, of a
    network with the head `pooled`.

    Returns:
        A model from photos to `{"hires_cam": [batch, rows, columns], "layer_cam": the same}`.
    """
    head = [model.get_layer(name) for name in ("hidden", "head_norm", "probabilities")]
    conv, norm = model.get_layer("top_conv"), model.get_layer("top_bn")
    hires_cam = HiResCam(norm, *head, name="hires_cam")
    layer_cam = LayerCam(conv, norm, *head, name="layer_cam")
    return keras.Model(
        model.input,
        {
            "hires_cam": hires_cam([conv.output, norm.output, head[0].output]),
            "layer_cam": layer_cam([conv.input, norm.output, head[0].output]),
        },
    )


def with_shifts(model: keras.Model) -> keras.Model:
    """Return the heatmap at twice the resolution, from four forward passes over shifted photos.

    Shifted by a quarter of a place of the map to each side, the four maps interleave to an even
    grid; what a shift lays bare at the edge is mirrored.

    Returns:
        A model from photos to `{"heatmap": [batch, 2 * rows, 2 * columns]}`.
    """
    ops = keras.ops
    network = with_heatmap(model)
    side = model.input_shape[1]
    rows = network.output["heatmap"].shape[1]
    quarter = side // rows // 4
    photos = keras.Input(model.input_shape[1:])
    edges = [[0, 0], [quarter, quarter], [quarter, quarter], [0, 0]]
    padded = ops.pad(photos, edges, mode="reflect")
    starts = [(top, left) for top in (0, 2 * quarter) for left in (0, 2 * quarter)]
    maps = [
        network(padded[:, top : top + side, left : left + side])["heatmap"] for top, left in starts
    ]
    grid = ops.reshape(ops.stack(maps, axis=-1), (-1, rows, rows, 2, 2))
    interleaved = ops.transpose(grid, (0, 1, 3, 2, 4))
    return keras.Model(
        photos, {"heatmap": ops.reshape(interleaved, (-1, 2 * rows, 2 * rows))}, name="shifted"
    )


def enlarge(model: keras.Model, factor: int = 2) -> keras.Model:
    """Return the same network, with the same weights, for photos of `factor` times the side."""
    rows, columns, channels = model.input_shape[1:]
    photos = keras.Input((factor * rows, factor * columns, channels))
    larger = keras.models.clone_model(model, input_tensors=photos)
    copy_weights(model, larger)
    return larger


def _scale(norm: keras.layers.BatchNormalization):
    """Return what a normalisation in inference multiplies each channel by."""
    return norm.gamma / keras.ops.sqrt(norm.moving_variance + norm.epsilon)


def _swish_slope(values):
    gate = keras.ops.sigmoid(values)
    return gate * (1 + values * (1 - gate))
