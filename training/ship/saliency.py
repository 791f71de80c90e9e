"""The heatmap inside the graph: which places of the photo speak for fake.

A network with the head `evidence` computes it already. For the head `pooled` it is Grad-CAM:
Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391. After global average pooling the gradient
is the same at every place of the feature map. So only the head's gradient is needed, which a few
multiplications give exactly: without a gradient tape, the map can be exported.
"""

from __future__ import annotations

import keras

from training.fit.network import EVIDENCE


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

    def call(self, inputs):
        """Return the map `[batch, rows, columns]`, >= 0.

        The inputs are `[batch, rows, columns, channels]` and `[batch, units]`.
        """
        ops, norm = keras.ops, self.norm
        features, activations = inputs
        towards_fake = self.output_layer.kernel[:, 1] - self.output_layer.kernel[:, 0]
        scale = norm.gamma / ops.sqrt(norm.moving_variance + norm.epsilon)
        hidden_gradient = ops.cast(activations > 0, "float32") * (scale * towards_fake)
        # Projecting every place forwards, rather than the gradient backwards, reuses the hidden
        # layer's kernel in the graph: a transposed copy would cost 1.3 MB.
        projected = ops.matmul(features, self.hidden.kernel)
        places = features.shape[1] * features.shape[2]
        return ops.relu(ops.sum(projected * hidden_gradient[:, None, None, :], axis=-1) / places)


class EvidenceMap(keras.layers.Layer):
    """Maps evidence to the part of it that speaks for fake.

    The score is the pooled evidence, scaled and shifted by the last layer. Uniform evidence would
    leave the score undecided at one value; evidence above that value speaks for fake.

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


def with_heatmap(model: keras.Model) -> keras.Model:
    """Return the network of `training.fit.network` with a second output.

    Returns:
        A model from photos to `{"probabilities": [batch, 2], "heatmap": [batch, rows, columns]}`.
    """
    if any(layer.name == EVIDENCE for layer in model.layers):
        evidence = model.get_layer(EVIDENCE).output
        heatmap = EvidenceMap(model.get_layer("probabilities"), name="heatmap")(evidence)
    else:
        head = [model.get_layer(name) for name in ("hidden", "head_norm", "probabilities")]
        heatmap = GradCam(*head, name="heatmap")([model.get_layer("pooled").input, head[0].output])
    return keras.Model(
        model.input, {"probabilities": model.output, "heatmap": heatmap}, name=model.name
    )
