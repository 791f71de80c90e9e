import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.drawing import draw_face, edit_rows
from training.data.rows import read_split
from training.fit import pairs
from training.fit.composites import compose
from training.measure.audit import checks as audit_checks
from training.measure.audit import drawn as audit_drawn
from training.measure.audit import traces as audit_traces
from training.measure.audit.audit import audit, audit_table, found_leak
from training.measure.audit.composites import draw_composites, photo_statistics
from training.measure.audit.drawn import check_composites
from training.measure.audit.traces import read_photos

pytestmark = pytest.mark.slow

SIDE = 64  # of the prepared drawings
FACE = [12.8, 9.6, 38.4, 51.2, 23.4, 30.1, 40.6, 30.1, 32, 40.3, 26.9, 48, 37.1, 48]


@pytest.fixture(scope="module")
def landmarked(data, tmp_path_factory) -> Path:
    """The drawn faces, prepared with a finder that knows where they are; one cannot be read."""
    folder = Path(shutil.copytree(data, tmp_path_factory.mktemp("landmarked") / "faces"))
    face = " ".join(map(str, FACE))
    edit_rows(folder, "train", lambda rows: [{**row, "face": face} for row in rows])
    next(photo for photo in read_split(folder, "train") if not photo.is_fake).path.write_bytes(b"")
    return folder


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(audit_checks, "TREES", 10)
    monkeypatch.setattr(audit_drawn, "COMPOSITES", 60)
    monkeypatch.setattr(audit_drawn, "PAIRS", 0)
    blind_finder = SimpleNamespace(find=lambda photo: [])
    monkeypatch.setattr(audit_traces, "load_finder", lambda: blind_finder)


def blurred(*arguments) -> tuple[np.ndarray, np.ndarray]:
    """Return a composite that is blurred as a whole, as careless code would make it."""
    composite, share = compose(*arguments)
    return cv2.GaussianBlur(composite, (0, 0), 1.0), share


@pytest.fixture
def photos(landmarked):
    return [photo for photo in read_split(landmarked, "train") if photo.path.stat().st_size]


@pytest.mark.usefixtures("quick")
def test_composites_that_tell_by_nothing_but_the_edit_are_no_leak(landmarked):
    results = audit(landmarked, samples=100)
    check = results["checks"]["composites"]
    assert not check["leak"]
    assert not found_leak(results)
    assert check["figures"]["roc_auc"]["value"] < 0.62
    assert check["figures"]["limit"] == 0.6
    assert check["figures"]["pairs"] == 60
    assert "composites does not exceed the limit of 0.60." in check["finding"]
    assert "| composites | AUC 0." in audit_table(results)


@pytest.mark.usefixtures("quick")
def test_composites_that_are_blurred_as_a_whole_are_found(landmarked, monkeypatch):
    monkeypatch.setattr(pairs, "compose", blurred)
    results = audit(landmarked, samples=100)
    check = results["checks"]["composites"]
    assert check["leak"]
    assert found_leak(results)
    assert check["figures"]["roc_auc"]["low"] > 0.7
    assert "exceeds the limit of 0.60: change how they are made" in check["finding"]


@pytest.mark.usefixtures("quick")
def test_where_nothing_can_be_composed_there_is_no_such_check(data, landmarked, monkeypatch):
    assert check_composites(data, read_photos(data), samples=20) is None  # without landmarks
    photos = read_photos(landmarked)
    assert check_composites(landmarked, photos, samples=20) is not None
    monkeypatch.setattr(audit_drawn, "COMPOSITES", 3)  # too few bases
    assert check_composites(landmarked, photos, samples=20) is None


def test_pairs_share_their_base_s_group(photos):
    drawn = draw_composites(photos, pairs=12, seed=3)
    assert drawn.columns.shape == (24, 17)
    assert np.isfinite(drawn.columns).all()
    np.testing.assert_array_equal(drawn.truth, [0, 1] * 12)
    assert drawn.groups[0::2] == drawn.groups[1::2]
    real = {photo.group for photo in photos if not photo.is_fake}
    assert len(set(drawn.groups)) > 6
    assert set(drawn.groups) <= real
    repeated = draw_composites(photos, pairs=12, seed=3)
    np.testing.assert_array_equal(drawn.columns, repeated.columns)
    assert drawn.groups == repeated.groups
    assert draw_composites(photos, pairs=12, seed=4).groups != drawn.groups


def test_the_group_is_that_of_the_photo_that_was_drawn(photos, monkeypatch):
    """A composite that equals its base has the same statistics."""
    monkeypatch.setattr(
        pairs, "compose", lambda base, *rest: (base, np.zeros(base.shape[:2], np.float32))
    )
    monkeypatch.setattr(pairs, "QUALITIES", (90, 91))
    statistics = {}
    drawn = draw_composites(photos, pairs=30, seed=0)
    np.testing.assert_array_equal(drawn.columns[0::2], drawn.columns[1::2])
    monkeypatch.setattr(pairs, "vary", lambda photo, *rest: (np.float32(photo), np.zeros((4, 4))))
    drawn = draw_composites(photos, pairs=30, seed=0)
    for group, columns in zip(drawn.groups, drawn.columns.tolist(), strict=True):
        assert statistics.setdefault(group, columns) == columns
    assert len({tuple(columns) for columns in statistics.values()}) == len(statistics)


def test_composites_are_made_of_sources_without_fakes_too(photos):
    real = [replace(photo, source="web") for photo in photos if not photo.is_fake]
    fakes = [replace(photo, source="t2i") for photo in photos if photo.is_fake]
    drawn = draw_composites([*real, *fakes], pairs=2, seed=0)
    assert set(drawn.groups) <= {photo.group for photo in real}
    assert draw_composites(real, pairs=2, seed=0) is None
    assert draw_composites([*fakes, replace(real[0], face="")], pairs=2, seed=0) is None
    assert draw_composites([], pairs=2, seed=0) is None


def test_statistics_follow_blur_noise_compression_and_light():
    names = ["mean"] * 3 + ["deviation"] * 3 + ["laplacian", "median", "gradient"]
    names += ["speckle"] + ["residual"] * 3 + ["low", "middle", "high"] + ["blocks"]
    photo = np.float32(draw_face(0, 128))

    def change(other: np.ndarray) -> dict[str, float]:
        steps = photo_statistics(np.float32(other)) - photo_statistics(photo)
        return dict(zip(names, steps, strict=True))

    noise = np.random.default_rng(0).normal(0, 8, photo.shape)
    soft = change(cv2.GaussianBlur(photo, (0, 0), 1.0))
    assert max(soft[name] for name in names[6:16]) < 0
    loud = change(photo + noise)
    assert min(loud[name] for name in (*names[6:13], "high")) > 0
    assert change(photo + 10)["mean"] == pytest.approx(10, abs=0.01)
    assert change(photo * 1.5)["deviation"] > 5
    _, content = cv2.imencode(".jpg", photo.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 10])
    assert change(cv2.imdecode(content, cv2.IMREAD_COLOR))["blocks"] > 0.2
