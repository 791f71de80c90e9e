from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import training.measure.answers
from space.contract import Calibration, DetectorConfig
from space.photos import open_photo
from tests.measure.test_tiers import photo
from training.measure.answers import (
    BETWEEN,
    CHANGES,
    HARMLESS,
    NO_FACE,
    ORIGINAL,
    UNREADABLE,
    ask,
    halve,
    limit_side,
    mirror,
    shift,
)

CONFIG = DetectorConfig(
    labels=["real", "fake"],
    input_size=32,
    crop_margin=1.3,
    thresholds={"real": 0.3, "fake": 0.7},
    calibration=Calibration(),
    metrics={},
    sha256="",
    variant="",
    trained_on="",
    sources=["dfdc"],
)


class Double:
    """A detector that takes brightness for the probability. Blue pictures show no face, white ones
    a blurred face."""

    config, folder = CONFIG, None

    def judge(self, source, finder) -> list:
        pixels = np.asarray(open_photo(source))
        if pixels[..., 2].min() == 255 and pixels[..., 0].max() == 0:
            return []
        prediction, reason = self.predict(source), None
        if pixels.min() > 240:
            prediction.verdict, reason = "inconclusive", "blurred"
        return [SimpleNamespace(prediction=prediction, reason=reason)]

    def judge_whole(self, source):
        return SimpleNamespace(prediction=self.predict(source))

    def predict(self, source):
        probability = float(np.asarray(open_photo(source)).mean() / 255)
        verdict = self.config.verdict(probability)
        return SimpleNamespace(probability=probability, verdict=verdict)


@pytest.fixture(autouse=True)
def no_finder(monkeypatch):
    monkeypatch.setattr(training.measure.answers, "load_finder", lambda folder: "a finder")


def stored(folder, name: str, colour: tuple, size: tuple = (64, 48), **columns):
    path = folder / f"{name}.png"
    Image.new("RGB", size, colour).save(path)
    return replace(photo(name, **columns), path=path)


def test_answers_have_verdicts_and_reasons(tmp_path):
    photos = [
        stored(tmp_path, "dark", (20, 20, 20)),
        stored(tmp_path, "grey", (128, 128, 128)),
        stored(tmp_path, "bright", (230, 230, 230)),
        stored(tmp_path, "blue", (0, 0, 255)),
        stored(tmp_path, "white", (255, 255, 255)),
        replace(photo("broken"), path=tmp_path / "broken.png"),
    ]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    answers = ask(Double(), photos)[ORIGINAL]
    assert answers.verdicts.tolist() == ["real", "inconclusive", "fake", *["inconclusive"] * 3]
    assert answers.reasons.tolist() == ["", BETWEEN, "", NO_FACE, "blurred", UNREADABLE]
    assert answers.probabilities[3] == pytest.approx(1 / 3)  # of the whole photo
    assert np.isnan(answers.probabilities[5])
    assert answers.has_face.tolist() == [True, True, True, False, True, False]


def test_photos_are_judged_again_after_each_change(tmp_path):
    photos = [
        stored(tmp_path, "dark", (20, 20, 20)),
        stored(tmp_path, "large", (9, 9, 9), (600, 40)),
    ]
    brighter = {"brighter": lambda pixels: np.full_like(pixels, 230), **CHANGES}
    answers = ask(Double(), photos, brighter)
    assert list(answers) == [ORIGINAL, "brighter", *CHANGES]
    assert answers["brighter"].verdicts.tolist() == ["fake", "fake"]
    assert answers["at most 512 px"].changed.tolist() == [False, True]
    assert answers[ORIGINAL].verdicts.tolist() == ["real", "real"]


def test_what_is_too_small_after_a_change_is_not_judged(tmp_path):
    tiny = stored(tmp_path, "tiny", (20, 20, 20), (40, 40))
    answers = ask(Double(), [tiny], {"half": halve})
    assert answers[ORIGINAL].reasons.tolist() == [""]
    assert answers["half"].reasons.tolist() == [UNREADABLE]


def test_changes_do_what_their_names_say():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    assert limit_side(pixels, 512).shape == (256, 512, 3)
    assert limit_side(pixels, 600) is pixels
    assert halve(pixels).shape == (150, 300, 3)
    np.testing.assert_array_equal(mirror(mirror(pixels)), pixels)
    np.testing.assert_array_equal(shift(pixels), pixels[1:, 1:])
    assert HARMLESS["5 % cropped"](pixels).shape == (284, 570, 3)
    for name, change in (CHANGES | HARMLESS).items():
        changed = change(pixels)
        assert changed.dtype == np.uint8, name
        assert changed.shape != pixels.shape or not np.array_equal(changed, pixels), name
