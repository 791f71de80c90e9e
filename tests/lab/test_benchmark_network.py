import keras
import numpy as np
import pytest

from space.contract import MODEL_FILE
from space.detector import BUNDLED, load_bundled
from tests.networks import small_networks
from training.lab import benchmark_network
from training.lab.benchmark_network import (
    _litert,
    build_like_bundled,
    flops,
    gemm_rate,
    show_spread,
)
from training.ship.saliency import with_heatmap


def test_flops_are_two_for_each_weight_and_place():
    photos = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(5, 3, strides=2, padding="same", name="conv")(photos)
    features = keras.layers.DepthwiseConv2D(3, padding="same")(features)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(photos, keras.layers.Dense(2)(pooled))
    assert flops(model) == 2 * (16 * 3 * 3 * 3 * 5 + 16 * 3 * 3 * 5 + 5 * 2)


def test_the_untrained_network_takes_and_gives_what_the_bundled_one_does():
    detector = load_bundled()
    side = detector.config.input_size
    with small_networks():
        model, twin = build_like_bundled(), build_like_bundled()
    assert model.input_shape == (None, side, side, 3)
    assert (
        with_heatmap(model).output["heatmap"].shape[1:]
        == detector.predict(np.zeros((side, side, 3), np.uint8)).heatmap.shape
    )
    weights = model.get_weights()
    assert all(map(np.array_equal, weights, twin.get_weights()))
    assert np.ptp(weights[-2]) > 0


def test_all_photos_of_a_batch_are_judged():
    side = load_bundled().config.input_size
    pixels = np.random.default_rng(0).uniform(0, 255, (3, side, side, 3)).astype(np.float32)
    judged = _litert((BUNDLED / MODEL_FILE).read_bytes(), threads=1)(pixels)
    outputs = judged if isinstance(judged, list) else [judged]
    assert sum(len(output["probabilities"]) for output in outputs) == 3


def test_a_rate_counts_two_for_each_product(monkeypatch):
    spread = {"gemm": {"median": 10.0}}  # ms for 2 * 1024 ** 3
    monkeypatch.setattr(benchmark_network, "spread_in_turn", lambda calls, runs: spread)
    assert gemm_rate(threads=1) == pytest.approx(214.7, abs=0.1)


def test_a_spread_is_a_median_with_quartiles():
    assert show_spread({"low": 1.04, "median": 2.0, "high": 3.26}) == "2.0 (1.0 to 3.3)"
