import dataclasses
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from space import detector as detector_module
from space.contract import (
    CONFIG_FILE,
    MODEL_FILE,
    Calibration,
    DetectorConfig,
    DetectorError,
    Look,
    ScoreBin,
    SecondLook,
)
from space.crops import crop_face
from space.detector import BATCH, BUNDLED, Detector, changed_input, load_bundled
from space.faces import Face
from space.photos import PhotoError, open_photo
from space.shell import main
from tests.clients import call
from tests.drawing import draw_face
from tests.hub_server import COMMIT, Hub, serve_hub

NAME = "someone/detector"


@pytest.fixture(scope="module")
def bundled() -> Detector:
    """The bundled model, as programs load it."""
    return load_bundled()


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The bundled model without second looks, which have tests of their own."""
    detector = load_bundled()
    detector.config = dataclasses.replace(detector.config, second_look=None)
    return detector


@pytest.fixture
def left_side(detector, monkeypatch) -> Detector:
    """A detector whose probability is the brightness of the left half; it records its looks."""
    looks = []

    def judge(pixels):
        looks.append(len(pixels))
        fake = pixels[:, :, : pixels.shape[2] // 2].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - fake, fake], axis=1), np.zeros((len(pixels), 10, 10), np.float32)

    second_look = SecondLook(0.5, [Look(True, 0, 0), Look(False, 0, 3)])
    config = dataclasses.replace(
        detector.config,
        thresholds={"real": 0.2, "fake": 0.8},
        calibration=Calibration(),
        second_look=second_look,
    )
    monkeypatch.setattr(detector, "config", config)
    monkeypatch.setattr(detector, "_judge", judge)
    monkeypatch.setattr(detector, "looks", looks, raising=False)
    return detector


def halves(left: int, right: int) -> Image.Image:
    """Return a picture with these grey levels in its halves."""
    pixels = np.full((160, 160, 3), right, np.uint8)
    pixels[:, :80] = left
    return Image.fromarray(pixels)


def test_a_verdict_that_a_mirror_would_flip_is_none(left_side):
    near, far, real = left_side.predict([halves(210, 120), halves(250, 120), halves(60, 30)])
    odds = [210 / 45, 120 / 135, 210 / 45]  # the first look, mirrored, moved down
    expected = 1 / (1 + 1 / math.prod(odds) ** (1 / 3))
    assert near.probability == pytest.approx(expected, abs=1e-3)
    assert near.verdict == "inconclusive"
    assert (far.probability, far.verdict) == (pytest.approx(250 / 255, abs=1e-3), "fake")
    assert left_side.config.is_borderline(60 / 255)
    assert real.verdict == "real"
    assert left_side.looks == [3, 4]  # both borderline ones together, in one call


def test_faces_with_a_reason_and_frames_of_clips_are_looked_at_once(left_side):
    face = Face((20.0, 20.0, 120.0, 120.0), None, 0.9)
    crop = dataclasses.replace(left_side.crop_faces(halves(210, 120), [face])[0], reason=None)
    crop = dataclasses.replace(crop, pixels=np.asarray(halves(210, 120), np.float32))
    left_side.judge_crops([dataclasses.replace(crop, reason="blurred")])
    left_side.judge_crops([crop], second_look=False)
    assert left_side.looks == [1, 1]
    left_side.judge_crops([crop])
    assert left_side.looks == [1, 1, 1, 2]


def test_a_look_mirrors_and_then_moves_and_repeats_the_border():
    pixels = np.arange(9, dtype=np.float32).reshape(3, 3, 1)
    assert changed_input(pixels, Look(False, 1, 0))[..., 0].tolist() == [
        [0, 0, 1], [3, 3, 4], [6, 6, 7],
    ]  # fmt: skip
    assert changed_input(pixels, Look(True, -1, 1))[..., 0].tolist() == [
        [1, 0, 0], [1, 0, 0], [4, 3, 3],
    ]  # fmt: skip


def test_second_look_and_cap_are_read_back_and_checked(model_folder):
    plain = DetectorConfig.load(model_folder)
    second_look = SecondLook(0.4, [Look(True, 2, -2)])
    config = dataclasses.replace(plain, second_look=second_look, max_likelihood_ratio=40.0)
    config.save(model_folder)
    assert DetectorConfig.load(model_folder) == config
    for name, value in {
        "second_look": SecondLook(-1, second_look.looks),
        "max_likelihood_ratio": 0.5,
        "promise": ["kept"],
    }.items():
        with pytest.raises(DetectorError):
            dataclasses.replace(config, **{name: value})
    with pytest.raises(DetectorError, match="unknown second look"):
        dataclasses.replace(config, second_look=SecondLook(0.1, [Look(True, 2, 1000)]))
    older = json.loads((model_folder / CONFIG_FILE).read_text())
    for name in ("second_look", "max_likelihood_ratio", "promise"):
        del older[name]
    (model_folder / CONFIG_FILE).write_text(json.dumps(older))
    bare = DetectorConfig.load(model_folder)
    assert (bare.second_look, bare.max_likelihood_ratio, bare.is_calibrated) == (None, None, True)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED, tmp_path / "model"))


def run_shell(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Judge files as the shell does, in this process."""
    return call(partial(main, list(map(str, arguments))), environment)


def run_process(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Judge files in a process of its own, as users do."""
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
    photos = [tmp_path / "face.png", (tmp_path / "face.png").read_bytes(), face, np.asarray(face)]
    together = detector.predict(photos)
    for photo, batched in zip(photos, together, strict=True):
        alone = detector.predict(photo)
        assert alone.probability == batched.probability == together[0].probability
        assert np.array_equal(alone.heatmap, together[0].heatmap)


def test_prediction_is_in_range(detector):
    predictions = detector.predict([draw_face(seed, 240) for seed in range(4)])
    assert len({prediction.probability for prediction in predictions}) == 4
    for prediction in predictions:
        assert 0 < prediction.probability < 1
        assert prediction.verdict == detector.config.verdict(prediction.probability)
        assert prediction.meaning.low <= prediction.probability <= prediction.meaning.high
        assert prediction.heatmap.shape == (detector.config.input_size // 16,) * 2
        assert prediction.heatmap.dtype == np.float32
        assert prediction.heatmap.min() >= 0
        assert prediction.heatmap.max() in (0, 1)


def test_threads_get_their_own_answers(detector):
    faces = [draw_face(seed, 240) for seed in range(6)]
    expected = [detector.predict(face).probability for face in faces]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(detector.predict, faces * 4)
        assert [answer.probability for answer in answers] == expected * 4


def test_prediction_fits_into_json(detector):
    prediction = detector.predict(draw_face(1, 240))
    answer = json.loads(json.dumps(prediction.as_dict()))
    assert answer["probability"] == prediction.probability
    assert answer["meaning"]["photos"] == prediction.meaning.photos
    assert np.array_equal(np.array(answer["heatmap"], np.float32), prediction.heatmap)


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
    without = {"calibration": Calibration(), "score_bins": [], "second_look": None}
    plain = dataclasses.replace(raw.config, **without)
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
    with pytest.raises(DetectorError, match="not a LiteRT model"):
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
        ({"metrics": None}, "no `metrics`"),
        ({"input_size": 96}, r"takes photos of \d+ px where detector.json says 96"),
        ({"sha256": "0" * 64}, "sha256 differs"),
        ({"calibration": {"method": "platt", "slope": "1"}}, "text in place of numbers"),
    ],
)
def test_wrong_description_is_refused(model_folder, change, message):
    path = model_folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DetectorError, match=message):
        Detector(model_folder)


def test_unknown_key_of_the_description_is_ignored(model_folder):
    path = model_folder / CONFIG_FILE
    before = DetectorConfig.load(model_folder)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new": 1}))
    assert Detector(model_folder).config == before


@pytest.mark.parametrize("missing", [CONFIG_FILE, MODEL_FILE])
def test_missing_file_is_named(model_folder, missing):
    (model_folder / missing).unlink()
    with pytest.raises(DetectorError, match=missing):
        Detector.from_pretrained(model_folder)


def test_shell_prints_one_json_object_a_photo(bundled, tmp_path):
    draw_face(1).save(tmp_path / "face.png")
    (tmp_path / "text.jpg").write_text("no photo")
    files = (tmp_path / "face.png", tmp_path / "text.jpg")
    result = run_process(*files, "--whole-picture", "--json")
    judged, unreadable = map(json.loads, result.stdout.splitlines())
    assert result.returncode == 1
    expected = {"box": None, "too_small": False, "reason": None}
    expected |= bundled.predict(files[0]).as_dict()
    assert judged.pop("faces") == [expected]
    assert judged == {"file": str(files[0]), "note": "", "model": "bundled model"}
    assert unreadable["file"] == str(files[1])
    assert "not a readable photo" in unreadable["error"]


def test_shell_prints_a_line_a_face(detector, tmp_path):
    photo = Image.open(BUNDLED.parent / "examples/portrait.jpg")
    both = Image.new("RGB", (2 * photo.width, photo.height))
    both.paste(photo, (0, 0))
    both.paste(photo, (photo.width, 0))
    both.save(tmp_path / "two.png")
    Image.new("RGB", (300, 200), "#8899aa").save(tmp_path / "wall.png")
    result = run_shell(tmp_path / "two.png", tmp_path / "wall.png")
    assert result.returncode == 0
    first, second, wall = result.stdout.splitlines()
    assert "two.png, face 1: " in first
    assert "two.png, face 2: " in second
    assert "(probability of fake 0." in first
    assert "wall.png: no face found (--whole-picture judges it anyway)" in wall


class FinderOfOneFace:
    """Finds one face, at the same place in every photo (in shares of its width)."""

    def find(self, photo: Image.Image) -> list[Face]:
        left, top, side = (share * photo.width for share in (0.3, 0.2, self.side))
        return [Face((left, top, side, side), None, 0.9)]

    def __init__(self, side: float) -> None:
        self.side = side


def test_a_large_photo_is_judged_as_if_read_in_full(detector):
    photo = Image.open(BUNDLED.parent / "examples/portrait.jpg").resize((4000, 3000))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=95)
    content = buffer.getvalue()
    in_full = open_photo(content)
    # One face has enough pixels at half size; the other is judged at full size.
    for side, tolerance in ((0.3, 0.05), (0.03, 1e-6)):
        face = Face((1200.0, 800.0, 4000 * side, 4000 * side), None, 0.9)
        (full,) = detector.judge_faces(in_full, [face])
        for source in (content, Image.open(buffer)):
            (judgement,) = detector.judge(source, FinderOfOneFace(side))
            assert judgement.face.box == pytest.approx(face.box)
            probability = judgement.prediction.probability
            assert probability == pytest.approx(full.prediction.probability, abs=tolerance)


def test_judgement_is_that_of_the_crop(detector):
    photo = Image.open(BUNDLED.parent / "examples/portrait.jpg")
    face = Face((100.0, 60.0, 90.0, 120.0), None, 0.9)
    (judgement,) = detector.judge_faces(photo, [face])
    crop = crop_face(photo, face, detector.config.crop_margin)
    assert judgement.prediction.probability == detector.predict(crop).probability
    assert judgement.as_dict()["box"] == [100, 60, 90, 120]
    (tiny,) = detector.judge_faces(photo, [Face((150.0, 120.0, 15.0, 20.0), None, 0.9)])
    assert tiny.as_dict()["too_small"]
    assert (tiny.reason, tiny.prediction.verdict) == ("too_small", "inconclusive")
    whole = detector.judge_whole(photo)
    assert whole.prediction.probability == detector.predict(photo).probability
    assert whole.as_dict()["box"] is None


def test_faces_of_several_photos_are_judged_together(detector):
    photo = Image.open(BUNDLED.parent / "examples/portrait.jpg")
    faces = [Face((10.0 * n, 12.0 * n, 90.0, 120.0), None, 0.9) for n in range(BATCH // 2 + 1)]
    photos = [photo, photo.rotate(90)]
    together = detector.judge_crops(
        [crop for turned in photos for crop in detector.crop_faces(turned, faces)]
    )
    apart = [detector.judge_faces(turned, [face])[0] for turned in photos for face in faces]
    assert [judgement.face for judgement in together] == faces * 2
    np.testing.assert_allclose(
        [judgement.prediction.probability for judgement in together],
        [judgement.prediction.probability for judgement in apart],
        atol=1e-4,
    )
    assert detector.judge_crops([]) == []


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub({"hf_owner": "someone"})
    hub.add_repository(NAME, BUNDLED, sha=COMMIT)
    with serve_hub(hub):
        yield hub


def ask(
    hub: Hub, photo: Path, *flags: str, run=run_shell, **environment: str
) -> subprocess.CompletedProcess:
    """Judge a photo from the shell, with this Hub in its environment."""
    settings = hub.environment(None, photo.parent / "home") | environment
    return run(*flags, photo, "--json", "--whole-picture", **settings)


def refusal(result: subprocess.CompletedProcess) -> str:
    """Return the one sentence that says why there is no model."""
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]  # after the progress of downloads


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    draw_face(1).save(tmp_path / "face.png")
    return tmp_path / "face.png"


def test_model_comes_from_where_the_environment_says(hub, photo, bundled):
    answer = json.loads(ask(hub, photo, run=run_process, MODEL_ID=NAME).stdout)
    assert answer["model"] == f"{NAME} @ {COMMIT[:8]}"
    assert answer["faces"][0]["probability"] == bundled.predict(photo).probability


def test_model_comes_from_a_folder(model_folder, photo):
    answer = json.loads(
        run_shell("--model", model_folder, photo, "--json", "--whole-picture").stdout
    )
    assert answer["model"] == "model"


@pytest.mark.parametrize("revision", [(), ("--revision", COMMIT)])
def test_model_of_the_hub_is_fetched_once(hub, photo, bundled, revision):
    flags = ("--model", NAME, *revision)
    answer = json.loads(ask(hub, photo, *flags).stdout)
    assert answer["model"] == f"{NAME} @ {COMMIT[:8]}"
    assert answer["faces"][0]["probability"] == bundled.predict(photo).probability
    # Files of one commit, and no others.
    downloads = {request for request in hub.requests if "/resolve/" in request}
    assert {request.split(" ")[1] for request in downloads} == {
        f"/{NAME}/resolve/{COMMIT}/{name}" for name in (CONFIG_FILE, MODEL_FILE)
    }
    assert json.loads(ask(hub, photo, *flags, HF_HUB_OFFLINE="1").stdout) == answer
    hub.stop()
    assert json.loads(ask(hub, photo, *flags).stdout) == answer


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "someone/missing"), "does not exist or is private"),
        (("--model", NAME, "--revision", "v9"), f"The model {NAME} at v9 is not a folder here"),
        (("--model", NAME, "--revision", "v9"), "has no such revision"),
        (("--model", "someone/empty"), "holds no detector.json"),
        (("--model", "folder/that/is/missing"), "names there are NAMESPACE/NAME"),
    ],
)
def test_what_the_hub_does_not_have_is_one_sentence(hub, photo, flags, message):
    hub.add_repository("someone/empty", {"README.md": b"Empty"})
    assert message in refusal(ask(hub, photo, *flags))


def test_unreachable_hub_is_one_sentence(hub, photo):
    offline = refusal(ask(hub, photo, "--model", NAME, HF_HUB_OFFLINE="1"))
    assert f"The model {NAME} is not a folder here" in offline
    assert "not in the cache" in offline
    hub.stop()
    assert "not in the cache" in refusal(ask(hub, photo, "--model", NAME))


def test_wrong_token_is_one_sentence(hub, photo):
    message = refusal(ask(hub, photo, "--model", NAME, HF_TOKEN="hf_wrong"))
    assert "check the token" in message
    assert "hf_wrong" not in message


def test_damaged_download_is_one_sentence(hub, photo):
    hub.corrupt[MODEL_FILE] = b"\0" * (BUNDLED / MODEL_FILE).stat().st_size
    message = refusal(ask(hub, photo, "--model", NAME))
    assert "sha256 differs" in message
    assert "--force-download" in message


def test_name_that_cannot_be_is_one_sentence(photo):
    assert "names there are" in refusal(run_shell("--model", "x" * 300, photo))


def test_newer_format_on_the_hub_is_one_sentence(hub, photo):
    newer = json.loads((BUNDLED / CONFIG_FILE).read_text()) | {"format_version": 99}
    files = {CONFIG_FILE: json.dumps(newer).encode(), MODEL_FILE: b""}
    hub.add_repository("someone/newer", files)
    assert "has format 99" in refusal(ask(hub, photo, "--model", "someone/newer"))


def test_revision_without_a_model_is_refused(photo):
    result = run_shell("--revision", COMMIT, photo)
    assert result.returncode == 2
    assert "--revision needs a --model" in result.stderr


@pytest.mark.parametrize(
    "load", [load_bundled, lambda **options: Detector.from_pretrained(BUNDLED, **options)]
)
def test_threads_are_the_callers_choice(load, monkeypatch):
    requested = []

    def interpreter(*, num_threads: int, **options: object) -> Interpreter:
        requested.append(num_threads)
        return Interpreter(num_threads=num_threads, **options)

    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", interpreter)
    load(threads=1)
    load()
    assert requested == [1, min(4, os.cpu_count())]


class GraphForOne:
    """An interpreter of a graph exported for one photo; it answers with the photo's mean."""

    def __init__(self, **_: object) -> None:
        pass

    def get_input_details(self) -> list[dict]:
        side = DetectorConfig.load(BUNDLED).input_size
        return [{"shape_signature": np.array([1, side, side, 3])}]

    def get_signature_runner(self, name: str):
        return self._run

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        assert len(image) == 1
        fake = image.mean() / 255
        heatmap = np.full((7, 7), fake, np.float32)
        return {"probabilities": np.array([[1 - fake, fake]]), "heatmap": heatmap}


def test_a_graph_for_one_photo_takes_several_one_by_one(monkeypatch):
    pixels = np.stack([np.full((160, 160, 3), level, np.float32) for level in (51, 204)])
    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", GraphForOne)
    probabilities, heatmaps = Detector(BUNDLED).run(pixels)
    assert probabilities[:, 1] == pytest.approx([0.2, 0.8])
    assert heatmaps.shape == (2, 7, 7)
