import dataclasses
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from space import detector as detector_module
from space.detector import (
    BUNDLED,
    CONFIG_FILE,
    MODEL_FILE,
    Calibration,
    Detector,
    DetectorConfig,
    DetectorError,
    ScoreBin,
    load_bundled,
)
from space.faces import PhotoError
from tests.drawing import draw_face
from tests.hub_server import COMMIT, serve_repository


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_bundled()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED, tmp_path / "model"))


def run_shell(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, detector_module.__file__, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_kind_of_photo_gives_the_same_answer(detector, tmp_path):
    face = draw_face(1, 300)
    face.save(tmp_path / "face.png")
    kinds = [tmp_path / "face.png", (tmp_path / "face.png").read_bytes(), face, np.asarray(face)]
    together = detector.predict(kinds)
    for kind, of_list in zip(kinds, together, strict=True):
        alone = detector.predict(kind)
        assert alone.probability == of_list.probability == together[0].probability
        assert np.array_equal(alone.heatmap, together[0].heatmap)


def test_prediction_is_in_range(detector):
    predictions = detector.predict([draw_face(seed, 240) for seed in range(4)])
    assert len({prediction.probability for prediction in predictions}) == 4
    for prediction in predictions:
        assert 0 < prediction.probability < 1
        assert prediction.verdict == detector.config.verdict(prediction.probability)
        assert prediction.meaning.low <= prediction.probability <= prediction.meaning.high
        assert prediction.heatmap.shape == (7, 7)
        assert prediction.heatmap.dtype == np.float32
        assert prediction.heatmap.min() >= 0
        assert prediction.heatmap.max() in (0, 1)


def test_threads_get_their_own_answers(detector):
    faces = [draw_face(seed, 240) for seed in range(6)] * 4
    expected = [detector.predict(face).probability for face in faces]
    with ThreadPoolExecutor(8) as pool:
        assert [p.probability for p in pool.map(detector.predict, faces)] == expected


def test_unreadable_photo_raises(detector):
    with pytest.raises(PhotoError):
        detector.predict([draw_face(1), b"no photo"])


def test_verdict_follows_the_thresholds(detector):
    config = dataclasses.replace(detector.config, thresholds={"real": 0.4, "fake": 0.6})
    assert [config.verdict(p) for p in (0.39, 0.4, 0.59, 0.6)] == [
        "real",
        "inconclusive",
        "inconclusive",
        "fake",
    ]


def test_calibration_is_a_line_through_the_log_odds():
    assert Calibration().apply(0.3) == 0.3
    halved = Calibration("temperature", slope=0.5)
    assert halved.apply(0.5) == pytest.approx(0.5)
    assert halved.apply(0.8) == pytest.approx(2 / 3)  # odds of 4 become odds of 2
    shifted = Calibration("platt", slope=1.0, intercept=math.log(3))
    assert shifted.apply(0.5) == pytest.approx(0.75)
    assert 0 < shifted.apply(0.0) < shifted.apply(1.0) < 1


def test_calibration_and_bins_are_served(model_folder):
    raw = Detector(model_folder)
    plain = dataclasses.replace(raw.config, calibration=Calibration(), score_bins=[])
    plain.save(model_folder)
    face = draw_face(1, 240)
    output = Detector(model_folder).predict(face)
    assert output.meaning is None
    calibration = Calibration("platt", slope=2.0, intercept=0.5)
    bins = [ScoreBin(0.0, 0.0, 30, 0.1), ScoreBin(0.0, 1.0, 40, 0.7)]
    dataclasses.replace(plain, calibration=calibration, score_bins=bins).save(model_folder)
    served = Detector(model_folder).predict(face)
    assert served.probability == pytest.approx(calibration.apply(output.probability))
    assert served.meaning == bins[1]


def test_no_litert_file_is_named(model_folder):
    (model_folder / MODEL_FILE).write_bytes(b"no model")
    digest = hashlib.sha256(b"no model").hexdigest()
    dataclasses.replace(DetectorConfig.load(model_folder), sha256=digest).save(model_folder)
    with pytest.raises(DetectorError, match="no LiteRT model"):
        Detector(model_folder)


def test_config_survives_saving(detector, tmp_path):
    detector.config.save(tmp_path)
    assert DetectorConfig.load(tmp_path) == detector.config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format 99"),
        ({"labels": ["fake", "real"]}, "labels"),
        ({"thresholds": {"real": 0.7, "fake": 0.3}}, "out of order"),
        ({"thresholds": {}}, "KeyError"),
        ({"calibration": {"method": "magic"}}, "unknown calibration"),
        ({"calibration": {"magic": 1}}, "not a detector's description"),
        ({"metrics": None}, "no metrics"),
        ({"input_size": 96}, "takes photos of 224 px"),
        ({"sha256": "0" * 64}, "sha256 differs"),
    ],
)
def test_wrong_description_is_refused(model_folder, change, message):
    path = model_folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DetectorError, match=message):
        Detector(model_folder)


def test_unknown_key_of_the_description_is_ignored(model_folder, detector):
    path = model_folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new": 1}))
    assert Detector(model_folder).config == detector.config


@pytest.mark.parametrize("missing", [CONFIG_FILE, MODEL_FILE])
def test_missing_file_is_named(model_folder, missing):
    (model_folder / missing).unlink()
    with pytest.raises(DetectorError, match=missing):
        Detector.from_pretrained(model_folder)


def test_shell_prints_one_json_object_a_photo(detector, tmp_path):
    draw_face(1).save(tmp_path / "face.png")
    (tmp_path / "text.jpg").write_text("no photo")
    result = run_shell(tmp_path / "face.png", tmp_path / "text.jpg", "--json")
    judged, unreadable = map(json.loads, result.stdout.splitlines())
    assert result.returncode == 1
    expected = detector.predict(tmp_path / "face.png")
    assert judged == {
        "file": str(tmp_path / "face.png"),
        "probability": round(expected.probability, 4),
        "verdict": expected.verdict,
        "validation_fake_share": round(expected.meaning.fake_share, 4),
        "model": "bundled model",
    }
    assert unreadable["file"] == str(tmp_path / "text.jpg")
    assert "not a readable photo" in unreadable["error"]


def test_shell_prints_a_line_a_photo(tmp_path):
    draw_face(1).save(tmp_path / "face.png")
    result = run_shell(tmp_path / "face.png")
    assert result.returncode == 0
    assert "probability of fake 0." in result.stdout
    assert len(result.stdout.splitlines()) == 1


def test_model_comes_from_the_hub(tmp_path):
    draw_face(1).save(tmp_path / "face.png")
    with serve_repository("someone/detector", BUNDLED) as endpoint:
        result = run_shell(
            tmp_path / "face.png",
            "--json",
            MODEL_ID="someone/detector",
            HF_ENDPOINT=endpoint,
            HF_HOME=str(tmp_path / "cache"),
            HF_HUB_OFFLINE="0",
        )
    assert json.loads(result.stdout)["model"] == f"someone/detector @ {COMMIT[:8]}"


def test_unreachable_hub_is_one_sentence(tmp_path):
    draw_face(1).save(tmp_path / "face.png")
    result = run_shell(
        tmp_path / "face.png", MODEL_ID="someone/detector", HF_HOME=str(tmp_path / "cache")
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert "someone/detector is neither a folder here nor" in result.stderr
    assert "Traceback" not in result.stderr
