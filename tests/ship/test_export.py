import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from sklearn.metrics import roc_auc_score

from space.contract import Calibration
from space.detector import Detector
from tests.conftest import FACES
from tests.measure.test_evaluate import REPORT_FILES
from training.data.rows import read_split
from training.errors import UserError
from training.measure.answers import ORIGINAL, ask
from training.measure.evaluate import evaluate
from training.ship.export import Variant, _auc, _log_mistakes, choose_variant, export, export_graph
from training.ship.quantize import dynamic_range, float16
from training.ship.saliency import with_heatmap


def test_folder_is_complete_and_loads(exported, run):
    assert {path.name for path in exported.iterdir()} == {
        "detector.tflite",
        "detector.json",
        "export_report.json",
        "variants",
        *REPORT_FILES,
    }
    report = json.loads((exported / "export_report.json").read_text())
    names = [variant["name"] for variant in report["variants"]]
    assert names == ["float16", "dynamic-range"]
    detector = Detector(exported)
    assert detector.config.variant == "float16"
    others = {path.stem: path.stat().st_size / 1e6 for path in (exported / "variants").iterdir()}
    sizes = {variant["name"]: variant["megabytes"] for variant in report["variants"]}
    assert others == {name: sizes[name] for name in names[1:]}
    assert detector.config.input_size == 64
    assert detector.config.framing == "photo"  # as in the run, which was trained on whole photos
    assert str(run) not in (exported / "detector.json").read_text()
    assert detector.config.trained_on.startswith("photos of the dataset “archive”")


def test_served_model_agrees_with_keras(exported, spread, tmp_path):
    config = Detector(exported).config
    config = dataclasses.replace(config, calibration=Calibration(), second_look=None)
    bare = shutil.copytree(exported, tmp_path / "bare")
    config.save(bare)
    network = with_heatmap(keras.models.load_model(spread / "deepfake_cnn.keras"))
    outputs = network.predict(FACES, verbose=0)
    predictions = Detector(bare).predict([face.astype(np.uint8) for face in FACES])
    served = [prediction.probability for prediction in predictions]
    np.testing.assert_allclose(served, outputs["probabilities"][:, 1], atol=0.05)
    for prediction, heatmap in zip(predictions, outputs["heatmap"], strict=True):
        scaled = heatmap / heatmap.max() if heatmap.max() else heatmap
        np.testing.assert_allclose(prediction.heatmap, scaled, atol=0.1)


def test_score_has_a_meaning(exported, data):
    detector = Detector(exported)
    assert detector.config.calibration.method in ("temperature", "platt")
    photos = read_split(data, "validation")
    probabilities = ask(detector, photos)[ORIGINAL].probabilities
    fake = np.array([photo.is_fake for photo in photos])
    assert np.mean(probabilities[~fake] >= detector.config.thresholds["fake"]) <= 0.02
    assert np.mean(probabilities[fake] < detector.config.thresholds["real"]) <= 0.05
    assert sum(score_bin.photos for score_bin in detector.config.score_bins) == len(photos)
    fewest = min(len({row.group for row in photos if row.is_fake == label}) for label in (0, 1))
    assert detector.config.max_likelihood_ratio == fewest
    assert detector.config.second_look.margin >= 0


def test_figures_are_those_of_the_served_file(exported, data, tmp_path):
    detector = Detector(exported)
    figures = json.loads((exported / "metrics.json").read_text())
    assert detector.config.metrics["test"]["roc_auc"] == figures["roc_auc"]
    assert detector.config.promise["broken"] == figures["promises_broken"]
    assert detector.config.is_calibrated == (not figures["promises_broken"])
    assert "note" not in detector.config.metrics["test"]  # groups were kept whole
    repeated = evaluate(exported, data, "test", tmp_path / "again", samples=20)
    assert repeated == figures
    photos = read_split(data, "test")
    calls = ask(detector, photos)[ORIGINAL].probabilities >= 0.5
    accuracy = np.mean([photo.is_fake == call for photo, call in zip(photos, calls, strict=True)])
    assert figures["accuracy"]["value"] == pytest.approx(accuracy)


def test_other_data_and_unfinished_runs_are_refused(run, data, tmp_path):
    changed = Path(shutil.copytree(data, tmp_path / "other"))
    report = json.loads((changed / "prepare_report.json").read_text())
    (changed / "prepare_report.json").write_text(json.dumps(report | {"fingerprint": "other"}))
    with pytest.raises(UserError, match="is not the data"):
        export(run, changed, tmp_path / "out")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(run / "config.json", unfinished)
    with pytest.raises(UserError, match="finish its training first"):
        export(unfinished, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def variant(name: str, milliseconds: float, auc: float) -> Variant:
    return Variant(name, 5.0, milliseconds, auc, passed=auc >= 0.700 - 0.005)


def test_gate_counts_sources_by_the_root_of_their_size(data):
    photos = read_split(data, "validation")
    photos = [
        dataclasses.replace(photo, source=str(number % 4 == 0))
        for number, photo in enumerate(photos)
    ]
    scores = np.random.default_rng(3).random(len(photos))
    fake = np.array([photo.is_fake for photo in photos])
    small = np.array([photo.source == "True" for photo in photos])
    expected = [roc_auc_score(fake[chosen], scores[chosen]) for chosen in (small, ~small)]
    sizes = [small.sum(), (~small).sum()]
    assert _auc(photos, scores) == pytest.approx(np.average(expected, weights=np.sqrt(sizes)))


def test_mistakes_of_each_source_are_told_with_their_bound(caplog):
    truth, names = np.array([0] * 20 + [1] * 30), ["web"] * 20 + ["t2i"] * 30
    verdicts = ["inconclusive"] * 19 + ["fake"] * 29 + ["real", "real"]
    with caplog.at_level(logging.INFO):
        _log_mistakes(truth, np.array(verdicts), names)
    assert caplog.messages == [
        "t2i: 2 of 30 fake called real (up to 22.1 %).",
        "web: 1 of 20 real called fake (up to 24.9 %).",
    ]


def test_gate_takes_the_fastest_that_passes_and_names_both_figures(caplog):
    variants = [variant("slow", 9, 0.701), variant("good", 5, 0.696), variant("bad", 3, 0.667)]
    with caplog.at_level(logging.INFO):
        assert choose_variant(variants, keras_auc=0.700).name == "good"
    assert "bad is refused: mean validation AUC 0.6670" in caplog.text
    assert "0.7000" in caplog.text
    with pytest.raises(UserError, match="No format is as good"):
        choose_variant(variants[2:], keras_auc=0.700)


def test_formats_agree_and_hold_smaller_weights(spread):
    graph = export_graph(keras.models.load_model(spread / "deepfake_cnn.keras"))
    halved, dynamic = float16(graph), dynamic_range(graph)
    exact = fake_probabilities(graph)
    assert np.ptp(exact) > 0.5
    np.testing.assert_allclose(fake_probabilities(halved), exact, atol=0.005)
    np.testing.assert_allclose(fake_probabilities(dynamic), exact, atol=0.05)
    assert set(kernel_types(halved).values()) == {np.float16}
    assert kernel_types(dynamic) == {
        "stem_conv": np.float16,
        "block1a_project_conv": np.float16,
        "block7a_dwconv": np.float16,
        "top_conv": np.int8,
    }


def fake_probabilities(graph: bytes) -> np.ndarray:
    """Return a LiteRT graph's probabilities of fake, `[faces]`."""
    runner = Interpreter(model_content=graph).get_signature_runner()
    return runner(image=FACES)["probabilities"][:, 1]


def kernel_types(graph: bytes) -> dict[str, type]:
    """Return the dtype in which each convolution of the small network is stored."""
    tensors = Interpreter(model_content=graph).get_tensor_details()
    kernels = [
        tensor for tensor in tensors if len(tensor["shape"]) == 4 and tensor["dtype"] != np.float32
    ]
    return {re.search(r"(\w+conv)_\d", kernel["name"])[1]: kernel["dtype"] for kernel in kernels}
