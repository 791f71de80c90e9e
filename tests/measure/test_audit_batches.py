import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.drawing import draw_face, edit_rows
from training.config import SPLITS
from training.data.rows import read_split
from training.measure.audit import checks as audit_checks
from training.measure.audit import drawn as audit_drawn
from training.measure.audit import traces as audit_traces
from training.measure.audit.audit import audit_table
from training.measure.audit.batches import draw_by_source, history_features, surroundings_features
from training.measure.audit.checks import LIMIT
from training.measure.audit.drawn import check_batches
from training.measure.audit.traces import read_photos

pytestmark = pytest.mark.slow

SIDE = 64  # of the prepared drawings
BOX = (16, 14, 32, 40)  # left, top, width, height
LANDMARKS = (23.4, 30.1, 40.6, 30.1, 32, 40.3, 26.9, 48, 37.1, 48)


def edit_fakes(folder: Path, change) -> None:
    for split in SPLITS:
        for photo in read_split(folder, split):
            if photo.is_fake:
                pixels = change(np.array(Image.open(photo.path)))
                Image.fromarray(pixels).save(photo.path, quality=92, subsampling=0)


def darken_border(pixels: np.ndarray) -> np.ndarray:
    left, top, width, height = BOX
    dark = (pixels * 0.6).astype(np.uint8)
    dark[top : top + height, left : left + width] = pixels[top : top + height, left : left + width]
    return dark


@pytest.fixture
def landmarked(data, tmp_path, monkeypatch) -> Path:
    """The drawn faces, with each face's box and landmarks."""
    monkeypatch.setattr(audit_checks, "TREES", 10)
    monkeypatch.setattr(audit_drawn, "PAIRS", 40)
    blind_finder = SimpleNamespace(find=lambda photo: [])
    monkeypatch.setattr(audit_traces, "load_finder", lambda: blind_finder)
    folder = Path(shutil.copytree(data, tmp_path / "faces"))
    face = " ".join(map(str, [*BOX, *LANDMARKS]))
    for split in SPLITS:
        edit_rows(folder, split, lambda rows: [{**row, "face": face} for row in rows])
    return folder


def check(folder: Path) -> dict:
    return check_batches(folder, read_photos(folder), samples=50)


def test_drawings_that_differ_in_their_eyes_alone_are_no_leak(landmarked):
    checks = check(landmarked)
    assert checks.keys() == {"surroundings of archive", "history of archive"}
    assert not any(result.leak for result in checks.values())
    for result in checks.values():
        auc = result.figures["roc_auc"]
        assert auc["low"] < auc["value"] < auc["high"]
        assert "does not exceed the limit of 0.60" in result.finding


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (darken_border, "surroundings of archive"),
        (lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 1.5), "history of archive"),
    ],
    ids=["border", "blur"],
)
def test_what_tells_fakes_is_found(landmarked, change, name):
    edit_fakes(landmarked, change)
    checks = check(landmarked)
    assert checks[name].leak
    assert checks[name].figures["roc_auc"]["low"] > LIMIT
    table = audit_table({"checks": {name: vars(result) for name, result in checks.items()}})
    assert f"| {name} | AUC " in table


def test_generated_photos_may_be_told_by_their_border(landmarked, monkeypatch):
    edit_fakes(landmarked, darken_border)
    known = SimpleNamespace(changed="all", everyday=False)
    monkeypatch.setattr(audit_drawn, "lookup", lambda source: known)
    result = check(landmarked)["surroundings of archive"]
    assert not result.leak
    assert result.finding.endswith("as may be where photos are generated as a whole.")


def test_fakes_of_each_source_are_drawn_beside_real_photos(landmarked):
    photos = read_split(landmarked, "train")
    reals = [replace(photo, source="web") for photo in photos if not photo.is_fake]
    fakes = [
        replace(photo, source=("t2i", "sd15")[number % 2])
        for number, photo in enumerate(photo for photo in photos if photo.is_fake)
    ]
    drawn = dict(draw_by_source([*fakes, *reals], {}, pairs=6, seed=1))
    assert drawn.keys() == {"t2i", "sd15"}
    for source, sample in drawn.items():
        assert (sample.surroundings.shape, sample.history.shape) == ((12, 18), (12, 103))
        assert np.isfinite(sample.surroundings).all()
        np.testing.assert_array_equal(sample.truth, [0, 1] * 6)
        assert set(sample.groups[0::2]) <= {photo.group for photo in reals}
        assert set(sample.groups[1::2]) <= {
            photo.group for photo in fakes if photo.source == source
        }
        assert (sample.surroundings[:, 0] > 0).mean() > 0.5  # something lies outside
    repeated = dict(draw_by_source([*fakes, *reals], {}, pairs=6, seed=1))
    np.testing.assert_array_equal(drawn["t2i"].history, repeated["t2i"].history)
    [(_, alone)] = draw_by_source([fakes[0], *reals], {0: 1}, pairs=40, seed=1)
    beside = [group == reals[0].group for group in alone.groups[0::2]]
    assert 0.3 < np.mean(beside) < 0.8  # half of the time beside its original


def test_surroundings_are_blind_to_the_face():
    photo = np.float32(draw_face(1, 160))
    inside = np.zeros((10, 10), np.float32)
    inside[2:8, 2:8] = 1
    features = surroundings_features(photo, inside)
    changed = photo.copy()
    changed[40:120, 40:120] = 255 - changed[40:120, 40:120]
    np.testing.assert_array_equal(surroundings_features(changed, inside), features)
    changed[:16] = 0
    assert np.abs(surroundings_features(changed, inside) - features).max() > 5
    assert features[0] == pytest.approx(0.64)
    assert not surroundings_features(photo, np.ones((10, 10), np.float32)).any()


def test_history_is_that_of_compression_and_resampling():
    photo = np.float32(draw_face(2, 160))
    features = history_features(photo)
    assert features.shape == (103,)
    _, content = cv2.imencode(".jpg", photo.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 20])
    compressed = history_features(np.float32(cv2.imdecode(content, cv2.IMREAD_COLOR)))
    assert compressed[[0, 8]].mean() > features[[0, 8]].mean() + 0.02  # the steps between blocks
    blurred = history_features(cv2.GaussianBlur(photo, (0, 0), 1.5))
    assert blurred[-1] < features[-1] - 1  # the highest frequencies
    np.testing.assert_allclose(history_features(photo + 20), features, atol=1e-2)
    assert np.isfinite(history_features(np.zeros((160, 160, 3), np.float32))).all()
