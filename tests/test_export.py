import json
import logging
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from space.detector import Detector
from space.faces import model_input
from tests.drawing import draw_face
from training.dataset import read_split
from training.errors import UserError
from training.evaluate import evaluate, score_photos
from training.export import Variant, choose_variant, export, export_graph
from training.quantize import HEAD, GraphQuantizer, log_odds
from training.saliency import with_heatmap


@pytest.fixture(scope="module")
def graph(run) -> bytes:
    """The run's float32 graph; converting takes half a minute, so it is done once."""
    return export_graph(keras.models.load_model(run / "deepfake_cnn.keras"))


@pytest.fixture(scope="module")
def exported(run, data, graph, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.export.export_graph", lambda model: graph)
        return export(run, data, tmp_path_factory.mktemp("export") / "model")


@pytest.fixture(scope="module")
def quantizer(graph) -> GraphQuantizer:
    photos = [model_input(draw_face(seed, 64), 64)[None] for seed in range(12)]
    return GraphQuantizer(graph, photos)


def test_folder_is_complete_and_loads(exported, run):
    assert {path.name for path in exported.iterdir()} == {
        "detector.tflite",
        "detector.json",
        "export_report.json",
        "metrics.json",
        "confusion.png",
        "roc.png",
    }
    report = json.loads((exported / "export_report.json").read_text())
    passed = {variant["name"] for variant in report["variants"] if variant["passed"]}
    detector = Detector(exported)
    assert detector.config.variant in passed
    assert detector.config.input_size == 64
    assert str(run) not in (exported / "detector.json").read_text()


def test_served_model_agrees_with_keras(exported, run):
    detector = Detector(exported)
    both = with_heatmap(keras.models.load_model(run / "deepfake_cnn.keras"))
    faces = [draw_face(seed, 64, tinted=bool(seed % 2)) for seed in range(6)]
    outputs = both.predict(np.stack([model_input(face, 64) for face in faces]), verbose=0)
    predictions = detector.predict(faces)
    served = [prediction.probability for prediction in predictions]
    np.testing.assert_allclose(served, outputs["probabilities"][:, 1], atol=0.05)
    for prediction, heatmap in zip(predictions, outputs["heatmap"], strict=True):
        scaled = heatmap / heatmap.max() if heatmap.max() else heatmap
        np.testing.assert_allclose(prediction.heatmap, scaled, atol=0.25)


def test_figures_are_those_of_the_served_file(exported, data):
    detector = Detector(exported)
    figures = json.loads((exported / "metrics.json").read_text())
    assert detector.config.metrics["test"]["roc_auc"] == figures["roc_auc"]
    assert "random" in detector.config.metrics["test"]["note"]
    again = evaluate(exported, data, "test", exported.parent / "again")
    assert again == figures
    rows = read_split(data, "test")
    judged = score_photos(detector, data, "test", rows) >= 0.5
    right = np.mean([(row.label == "fake") == one for row, one in zip(rows, judged, strict=True)])
    assert figures["accuracy"] == pytest.approx(right)


def test_other_data_and_unfinished_runs_are_refused(run, data, tmp_path):
    other = Path(shutil.copytree(data, tmp_path / "other"))
    report = json.loads((other / "prepare_report.json").read_text())
    (other / "prepare_report.json").write_text(json.dumps(report | {"fingerprint": "other"}))
    with pytest.raises(UserError, match="is not the data"):
        export(run, other, tmp_path / "out")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(run / "config.json", unfinished)
    with pytest.raises(UserError, match="train or export first"):
        export(unfinished, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def variant(name: str, milliseconds: float, auc: float) -> Variant:
    return Variant(name, 5.0, milliseconds, auc, passed=auc >= 0.700 - 0.005)


def test_gate_takes_the_fastest_that_passes_and_names_both_figures(caplog):
    variants = [variant("slow", 9, 0.701), variant("good", 5, 0.696), variant("bad", 3, 0.667)]
    with caplog.at_level(logging.INFO):
        assert choose_variant(variants, keras_auc=0.700).name == "good"
    assert "bad is refused: validation AUC 0.6670" in caplog.text
    assert "0.7000" in caplog.text
    with pytest.raises(UserError, match="No format is as good"):
        choose_variant(variants[2:], keras_auc=0.700)


def test_float16_is_exact_and_every_format_is_smaller(quantizer):
    contents = [quantizer.float16(), quantizer.dynamic_range(), quantizer.int8()]
    exact = log_odds(quantizer._graph, quantizer._photos)
    np.testing.assert_allclose(log_odds(contents[0], quantizer._photos), exact, atol=0.02)
    sizes = [len(content) for content in (quantizer._graph, *contents)]
    assert sizes[1] < 0.6 * sizes[0]
    assert max(sizes[2:]) < 0.4 * sizes[0]


def test_int8_keeps_the_blocks_in_float_that_it_is_told(quantizer):
    exact = log_odds(quantizer._graph, quantizer._photos)
    whole = quantizer.int8()
    spared = quantizer.int8([HEAD, "stem", "block[1-6]"])
    error_whole = np.abs(log_odds(whole, quantizer._photos) - exact).mean()
    error_spared = np.abs(log_odds(spared, quantizer._photos) - exact).mean()
    assert error_spared < error_whole
    assert len(whole) < len(spared) < len(quantizer._graph)


def test_selective_int8_agrees_with_the_float_graph(quantizer):
    graph, blocks = quantizer.int8_selective()
    exact = log_odds(quantizer._graph, quantizer._photos)
    assert np.corrcoef(log_odds(graph, quantizer._photos), exact)[0, 1] >= 0.99
    assert len(blocks) < 18
    assert len(graph) < 0.6 * len(quantizer._graph)
