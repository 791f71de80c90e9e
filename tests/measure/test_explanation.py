import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from space.contract import CONFIG_FILE
from space.judgements import Prediction
from space.photos import open_photo
from training.data.rows import METADATA, PARTS
from training.errors import UserError
from training.measure import explain as explanation
from training.measure.explain import conclude, explain_test
from training.measure.explanation_tables import explanation_table

BASELINES = {"centre", "random", "random_weights"}


class GreenDetector:
    """A detector that knows how the drawn fakes differ: their eyes are green."""

    config = SimpleNamespace(sha256="0" * 64, input_size=64, framing="photo")

    def predict(self, photo) -> Prediction:
        pixels = np.asarray(open_photo(photo).resize((64, 64)), dtype=float)
        green = (pixels[..., 1] - pixels[..., [0, 2]].max(axis=2) - 40).clip(0)
        heatmap = green.reshape(8, 8, 8, 8).mean(axis=(1, 3)).astype(np.float32)
        probability = float(min(1.0, green.mean() / 0.5))
        verdict = "fake" if probability > 0.5 else "real"
        return Prediction(probability, verdict, None, heatmap / max(heatmap.max(), 1e-6))


def tiny_network(input_size: int, **_) -> keras.Model:
    """Return a network whose last layers are named and connected like the real one's."""
    layers = keras.layers
    photos = keras.Input((input_size, input_size, 3))
    normalised = layers.Normalization()(layers.Rescaling(1 / 255)(photos))
    features = layers.Conv2D(4, 3, strides=16, padding="same")(normalised)
    convolved = layers.Conv2D(8, 1, use_bias=False)(features)
    top = layers.Activation("swish")(layers.BatchNormalization()(convolved))
    pooled = layers.GlobalAveragePooling2D(name="pooled")(top)
    hidden = layers.Dense(6, activation="relu", name="hidden")(pooled)
    head = layers.BatchNormalization(name="head_norm")(hidden)
    return keras.Model(photos, layers.Dense(2, activation="softmax", name="probabilities")(head))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("green")
    (folder / CONFIG_FILE).write_text("{}")
    return folder


@pytest.fixture(scope="module")
def results(data, model) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanation, "build_model", tiny_network)
        patch.setattr(explanation, "load_detector", lambda folder: GreenDetector())
        patch.setattr(explanation, "CURVE_PHOTOS", 4)
        return explain_test(model, data, ("test",), samples=20)


def test_files_hold_the_results(results, model):
    assert json.loads((model / "explanation.json").read_text()) == results
    assert {path.name for path in model.iterdir()} == {
        CONFIG_FILE,
        "explanation.json",
        "explanation.png",
    }
    assert results["splits"] == ["test"]
    assert results["bootstrap_samples"] == 20


def test_maps_that_know_nothing_are_compared(results):
    expected = {"grad_cam", *BASELINES}
    assert set(results["localisation"]["box"]) == set(results["curves"]) == expected
    table = explanation_table(results)
    for name in expected:
        assert table.count(f" {explanation.TITLES[name]} ") == 2


def test_what_decides_shows_in_the_curves(results):
    """The green eyes are all that this detector looks at, and its heatmap points at them."""
    areas = {
        name: [curve[area]["value"] for area in ("insertion_area", "deletion_area")]
        for name, curve in results["curves"].items()
    }
    for name in BASELINES:
        assert areas["grad_cam"][0] > areas[name][0]
        assert areas["grad_cam"][1] < areas[name][1]


def test_curves_start_and_end_at_the_same_photos(results):
    curves = results["curves"]
    for name, curve in curves.items():
        assert curve["insertion"][0] == pytest.approx(curve["deletion"][-1])
        assert curve["insertion"][-1] == pytest.approx(curve["deletion"][0])
        assert curve["insertion"][-1] == pytest.approx(curves["grad_cam"]["insertion"][-1]), name


def test_conclusion_follows_the_intervals_on_pairs():
    ahead, behind, unsure = (
        {"grad_cam": {"lead_over_centre": {"value": value, "low": low, "high": high}}}
        for value, low, high in ((0.3, 0.1, 0.5), (-0.3, -0.5, -0.1), (0.1, -0.1, 0.3))
    )
    assert "does not beat" in conclude({"pair": behind, "box": ahead})
    assert "does not beat" in conclude({"pair": unsure})
    assert "heatmap beats" in conclude({"pair": ahead, "box": behind})
    assert "heatmap beats" in conclude({"box": ahead})


def test_what_is_missing_is_one_sentence(data, tmp_path):
    with pytest.raises(UserError, match=r"holds no detector\.json: give the folder"):
        explain_test(tmp_path, data)


def test_fakes_without_known_parts_are_one_sentence(data, model, tmp_path):
    folder = shutil.copytree(data, tmp_path / "faces")
    path = folder / "test" / METADATA
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row |= dict.fromkeys(PARTS, "")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match="No fake among the test photos"):
        explain_test(model, folder)
