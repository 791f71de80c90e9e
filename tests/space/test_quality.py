"""Which faces get no verdict, and how often that is wrong on the photos of `shared`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from space.contract import REASONS
from space.detector import Detector, load_bundled
from space.faces import Face
from space.photos import open_photo
from space.quality import find_reason
from space.verdicts import ADVICE
from space.yunet import YuNet
from tests.serving import SPACE
from training.measure import tier_tables

YUNET = Path(__file__).parents[3] / "shared" / "models" / "face_detection_yunet_2026may.onnx"
BOX = (206.0, 125.0, 186.0, 224.0)  # of the portrait at twice its size
EYES = np.array([[256, 216], [344, 216], [300, 270], [266, 306], [334, 306]], np.float32)


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    photo = open_photo(SPACE / "examples/portrait.jpg")
    return photo.resize((2 * photo.width, 2 * photo.height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_bundled()


def moved(left: float = 0, top: float = 0) -> Face:
    """Return the portrait's face after `left` and `top` px of the photo were cut off."""
    return Face((BOX[0] - left, BOX[1] - top, *BOX[2:]), EYES - np.float32([left, top]), 0.9)


def test_an_ordinary_face_has_no_reason(portrait):
    assert find_reason(portrait, moved()) is None


@pytest.mark.parametrize(
    ("left", "top", "reason"),
    [(0, 125, None), (0, 140, None), (0, 160, "cut"), (206, 0, None), (240, 0, "cut")],
)
def test_a_face_is_cut_when_a_tenth_of_it_is_outside(portrait, left, top, reason):
    part = portrait.crop((left, top, *portrait.size))
    assert find_reason(part, moved(left, top)) == reason


def test_a_photo_that_is_cropped_to_the_face_is_not_cut(portrait):
    left, top, width, height = BOX
    tight = portrait.crop(
        (round(left), round(top + 0.15 * height), *map(round, (left + width, top + height)))
    )
    assert find_reason(tight, moved(left, top + 0.15 * height)) is None


def test_a_face_without_an_eye_is_cut_wherever_its_box_ends(portrait):
    part = portrait.crop((260, 0, *portrait.size))
    face = moved(260)
    inside = Face((0.0, BOX[1], 120.0, BOX[3]), face.landmarks, 0.9)
    assert find_reason(part, inside) == "cut"


def test_small_dark_and_blurred_faces_are_told(portrait):
    small = portrait.resize((portrait.width // 4, portrait.height // 4))
    assert find_reason(small, moved().scaled(0.25)) == "too_small"
    assert find_reason(portrait.point(lambda level: level * 0.1), moved()) == "too_dark"
    assert find_reason(portrait.filter(ImageFilter.GaussianBlur(6)), moved()) == "blurred"


def test_neither_light_nor_skin_is_taken_for_blur(portrait):
    for factor in (0.3, 0.6, 1.4):
        assert find_reason(portrait.point(lambda level, f=factor: level * f), moved()) is None


def test_a_marked_face_gets_no_verdict_but_keeps_its_probability(detector, portrait):
    blurred = portrait.filter(ImageFilter.GaussianBlur(6))
    (judgement,) = detector.judge_faces(blurred, [moved()])
    assert judgement.reason == "blurred"
    assert judgement.prediction.verdict == "inconclusive"
    crop = detector.crop_faces(blurred, [moved()])[0]
    outputs, heatmaps = detector.run(crop.pixels[None])
    expected = detector.describe(outputs[0], heatmaps[0]).probability  # of a single look
    assert judgement.prediction.probability == pytest.approx(expected, abs=1e-6)
    assert judgement.as_dict()["reason"] in REASONS
    (sharp,) = detector.judge_faces(portrait, [moved()])
    assert sharp.reason is None
    assert sharp.prediction.verdict == detector.config.verdict(sharp.prediction.probability)


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("more/web/real", 0.05), ("real_and_fake_face/training_real", 0.03), ("more/dfdc/real", 0.05)],
)
def test_ordinary_photos_are_hardly_ever_marked(shared, folder, allowed):
    if not YUNET.is_file():
        pytest.skip(f"needs {YUNET}")
    finder = YuNet(YUNET, "")
    paths = sorted((shared / folder).rglob("*.jpg"))
    reasons = []
    for path in paths[:: len(paths) // 40]:
        photo = open_photo(path)
        reasons += [find_reason(photo, face) for face in finder.find(photo)[:1]]
    assert len(reasons) >= 38
    assert sum(reason is not None for reason in reasons) <= allowed * len(reasons)


def test_programs_and_people_are_told_every_reason():
    for_programs = (SPACE / "programs.md").read_text(encoding="utf-8")
    in_browsers = (SPACE / "browser/quality.js").read_text(encoding="utf-8")
    for key, sentence in REASONS.items():
        assert f"| `{key}` | {sentence} |" in for_programs
        assert f'{key}: "{sentence}"' in in_browsers
    assert ADVICE.keys() == REASONS.keys()
    assert REASONS.keys() - tier_tables.REASONS.keys() == {"seen_too_little"}  # for clips only
