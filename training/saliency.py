"""Grad-CAM inside the graph: which places of the photo speak for fake.

Method: Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391. After global average pooling the
gradient is the same at every place of the feature map, so that it takes the head's gradient alone,
which a few multiplications give exactly: no gradient tape, and it can be exported.
"""

from __future__ import annotations

import keras


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
        """Turn `[batch, rows, columns, channels]` and `[batch, units]` into the map `[batch, rows,
        columns]`, >= 0."""
        ops = keras.ops
        features, activations = inputs
        towards_fake = self.output_layer.kernel[:, 1] - self.output_layer.kernel[:, 0]
        scale = self.norm.gamma / ops.sqrt(self.norm.moving_variance + self.norm.epsilon)
        hidden_gradient = ops.cast(activations > 0, "float32") * (scale * towards_fake)
        # Projecting every place, rather than the gradient back, uses the hidden layer's kernel as
        # it lies in the graph already: a transposed copy would cost 1.3 MB.
        projected = ops.matmul(features, self.hidden.kernel)
        places = features.shape[1] * features.shape[2]
        return ops.relu(ops.sum(projected * hidden_gradient[:, None, None, :], axis=-1) / places)


def with_heatmap(model: keras.Model) -> keras.Model:
    """Return the network of `training.model` with a second output.

    Returns:
        A model from photos to `{"probabilities": [batch, 2], "heatmap": [batch, rows, columns]}`.
    """
    head = [model.get_layer(name) for name in ("hidden", "head_norm", "probabilities")]
    heatmap = GradCam(*head, name="heatmap")([model.get_layer("pooled").input, head[0].output])
    return keras.Model(
        model.input, {"probabilities": model.output, "heatmap": heatmap}, name=model.name
    )
