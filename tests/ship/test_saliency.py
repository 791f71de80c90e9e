import numpy as np
import pytest
import tensorflow as tf

from tests.networks import small_networks
from training.fit.network import build_model
from training.ship.saliency import EvidenceMap, with_heatmap


@pytest.fixture(scope="module")
def model():
    """A network whose head is not in its initial state, where scale and shift would be trivial."""
    with small_networks():
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

    network = keras.Model(model.input, [model.get_layer("pooled").input, model.output])
    with tf.GradientTape() as tape:
        features, probabilities = network(photos, training=False)
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
    with small_networks():
        model = build_model(backbone_weights="none", trainable_layers=20)
    assert with_heatmap(model).output["heatmap"].shape == (None, 7, 7)


@pytest.fixture(scope="module")
def evidence_model():
    """A network that judges places, whose last layer is not in its initial state."""
    with small_networks():
        model = build_model(
            backbone_weights="none", trainable_layers=20, head="evidence", input_size=96, seed=1
        )
    model.get_layer("probabilities").set_weights([np.array([[-1.0, 2.0]]), np.array([0.1, -0.4])])
    return model


def test_evidence_is_pooled_as_the_logarithm_of_its_mean_odds(evidence_model):
    import keras

    photos = np.random.default_rng(2).uniform(0, 255, (3, 96, 96, 3)).astype(np.float32)
    evidence, probabilities = keras.Model(
        evidence_model.input, [evidence_model.get_layer("evidence").output, evidence_model.output]
    ).predict(photos, verbose=0)
    assert evidence.shape == (3, 6, 6, 1)
    pooled = np.log(np.exp(evidence).mean(axis=(1, 2, 3)))
    log_odds = np.log(probabilities[:, 1] / probabilities[:, 0])
    np.testing.assert_allclose(log_odds, 3 * pooled - 0.5, rtol=1e-3, atol=1e-4)


def test_evidence_map_is_what_lies_above_the_undecided_level(evidence_model):
    import keras

    evidence = keras.Input((6, 6, 1))
    heatmap = EvidenceMap(evidence_model.get_layer("probabilities"))(evidence)
    level = 0.5 / 3  # evidence of this level everywhere gives log-odds of zero
    values = np.full((1, 6, 6, 1), level, np.float32)
    values[0, 2, 3], values[0, 4, 4] = level + 1, level - 1
    expected = np.zeros((1, 6, 6))
    expected[0, 2, 3] = 3
    found = keras.Model(evidence, heatmap).predict(values, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert with_heatmap(evidence_model).output["heatmap"].shape == (None, 6, 6)
