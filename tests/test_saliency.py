import numpy as np
import pytest
import tensorflow as tf

from training.model import build_model
from training.saliency import with_heatmap


@pytest.fixture(scope="module")
def model():
    """A network whose head is not in its initial state, where scale and shift would be trivial."""
    model = build_model(backbone_weights="none", trainable_layers=20, input_size=96, seed=1)
    rng = np.random.default_rng(1)
    norm = model.get_layer("head_norm")
    norm.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in norm.get_weights()])
    hidden = model.get_layer("hidden")
    hidden.set_weights([w + rng.normal(0, 0.05, w.shape) for w in hidden.get_weights()])
    return model


def grad_cam_by_tape(model, photos: np.ndarray) -> np.ndarray:
    """Return the Grad-CAM maps of the log-odds of fake, differentiated by TensorFlow."""
    import keras

    both = keras.Model(model.input, [model.get_layer("pooled").input, model.output])
    with tf.GradientTape() as tape:
        features, probabilities = both(photos, training=False)
        log_odds = tf.math.log(probabilities[:, 1]) - tf.math.log(probabilities[:, 0])
    gradient = tape.gradient(log_odds, features)
    weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()


def test_heatmap_equals_grad_cam_by_gradient_tape(model):
    photos = np.random.default_rng(2).uniform(0, 255, (5, 96, 96, 3)).astype(np.float32)
    expected = grad_cam_by_tape(model, photos)
    outputs = with_heatmap(model)(photos)
    assert expected.max() > 0
    np.testing.assert_allclose(outputs["heatmap"], expected, rtol=1e-3, atol=1e-5 * expected.max())
    np.testing.assert_allclose(outputs["probabilities"], model(photos), rtol=1e-5)


def test_heatmap_has_the_size_of_the_feature_map():
    model = build_model(backbone_weights="none", trainable_layers=20)
    assert with_heatmap(model).output["heatmap"].shape == (None, 7, 7)
