import csv
import hashlib
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training.data.source_pairs as module
from space.photos import PhotoError
from tests.drawing import draw_face
from training.data import likeness
from training.data.likeness import describe_views, likely_pairs
from training.data.rows import BASE_EXTENT, CERTAIN_INLIERS
from training.data.source_pairs import SourcePair, find_source_pairs, group_by_source

describe_once = lru_cache(module._sift)


@pytest.fixture(autouse=True)
def _describe_once(monkeypatch) -> None:
    """Describe each photo only in the first test that searches it, as this is the slowest step."""
    monkeypatch.setattr(module, "_sift", describe_once)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> tuple[list[Path], list[str]]:
    """Return paths and hashes of 24 faces, followed by three versions of the first two."""
    folder = tmp_path_factory.mktemp("photos")
    faces = [draw_face(seed, 200) for seed in range(24)]
    swapped = faces[0].copy()  # with a part of another face
    swapped.paste(faces[9].crop((60, 130, 140, 180)), (60, 130))
    tighter = faces[0].crop((10, 10, 190, 190)).resize((200, 200))
    turned = faces[1].rotate(4, Image.Resampling.BICUBIC)
    return write_photos(folder, [*faces, swapped, tighter, turned])


def write_photos(folder: Path, faces: list[Image.Image]) -> tuple[list[Path], list[str]]:
    paths = [folder / f"{number}.png" for number in range(len(faces))]
    for path, face in zip(paths, faces, strict=True):
        face.save(path)
    return paths, [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_versions_of_a_photo_are_found_once_and_others_are_not(photos, cache, caplog):
    paths, hashes = photos
    pairs = find_source_pairs(paths, hashes)
    assert {(pair.first, pair.second) for pair in pairs} == {(0, 24), (0, 25), (24, 25), (1, 26)}
    assert all(pair.inliers >= CERTAIN_INLIERS for pair in pairs)
    assert all(pair.extent >= BASE_EXTENT for pair in pairs)
    gone = [path.with_suffix(".gone") for path in paths]  # so that only the cache can tell
    with caplog.at_level("INFO"):
        assert find_source_pairs(gone, hashes) == pairs
    assert "known already" in caplog.text
    with pytest.raises(PhotoError):
        find_source_pairs(gone, hashes[::-1])


def test_photo_that_lent_a_part_is_told_from_the_one_that_was_edited(photos, tmp_path, cache):
    base, donor = draw_face(30, 200), draw_face(31, 200)
    fake = base.copy()
    fake.paste(donor.crop((40, 40, 120, 120)), (40, 40))
    paths, hashes = write_photos(tmp_path, [base, donor, fake])
    others = (values[:24] for values in photos)
    pairs = find_source_pairs(*(a + b for a, b in zip(others, (paths, hashes), strict=True)))
    extent = {(pair.first, pair.second): pair.extent for pair in pairs}
    assert extent.keys() == {(24, 26), (25, 26)}
    assert extent[24, 26] >= BASE_EXTENT > extent[25, 26]


@pytest.fixture
def large(monkeypatch) -> None:
    """Treat every set as large."""
    monkeypatch.setattr(module, "EXHAUSTIVE", 0)


def test_likeness_is_that_of_the_picture(photos, tmp_path):
    paths, _ = photos
    blank = tmp_path / "blank.png"
    Image.new("RGB", (200, 200), "#888888").save(blank)
    closer = tmp_path / "closer.png"
    Image.open(paths[5]).crop((25, 49, 175, 199)).resize((200, 200)).save(closer)
    views = describe_views([*paths, closer, blank])
    assert views.shape == (3, 29, likeness.FEATURES)
    assert np.isfinite(views).all()
    similarity = likeness.likeness(views, views)
    np.testing.assert_allclose(similarity, similarity.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(similarity)[:28], 1, rtol=1e-5)
    np.fill_diagonal(similarity, -1)
    assert similarity.argmax(axis=1)[[24, 25, 26, 27]].tolist() == [0, 0, 1, 5]


def test_likely_pairs_hold_the_neighbours_of_every_photo(photos, monkeypatch):
    paths, _ = photos
    monkeypatch.setattr(likeness, "NEIGHBOURS", 3)
    monkeypatch.setattr(likeness, "ROWS", 10)  # so that there are several blocks
    pairs = likely_pairs(paths)
    assert {(0, 24), (0, 25), (24, 25), (1, 26)} <= set(map(tuple, pairs.tolist()))
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert np.bincount(pairs.ravel(), minlength=27).min() >= 3
    assert 27 * 3 / 2 <= len(pairs) <= 27 * 3


@pytest.mark.usefixtures("large")
def test_in_a_large_set_the_same_versions_are_found_though_it_is_interrupted(
    photos, tmp_path, cache, monkeypatch
):
    paths, hashes = photos
    monkeypatch.setattr(module, "CHUNK", 4)
    described = []
    sift = module._sift

    def count(path: Path):
        described.append(path)
        if len(described) == 11:
            raise KeyboardInterrupt
        return sift(path)

    monkeypatch.setattr(module, "_sift", count)
    with pytest.raises(KeyboardInterrupt):
        find_source_pairs(paths, hashes)
    [store] = [path for path in cache.rglob("*") if path.is_file()]
    kept = store.stat().st_size // module.STORED.itemsize
    assert 4 <= kept <= 10
    with store.open("ab") as file:
        file.write(b"half a photo")
    before = len(described)
    resumed = find_source_pairs(paths, hashes)
    assert set(paths[kept:]) == set(described[before:])
    assert [path.suffix for path in cache.rglob("*") if path.is_file()] == [".csv"]
    assert [(pair.first, pair.second) for pair in resumed] == [(0, 24), (0, 25), (1, 26), (24, 25)]
    assert all(pair.inliers >= CERTAIN_INLIERS for pair in resumed)
    assert all(pair.extent >= BASE_EXTENT for pair in resumed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert find_source_pairs(paths, hashes) == resumed


def test_groups_are_what_hangs_together():
    hashes = [f"{number:016x}".ljust(64, "0") for number in (5, 1, 2, 3, 2, 4)]
    pairs = [SourcePair(0, 1, 20, 0.5), SourcePair(1, 3, 9, 0.5)]
    groups = group_by_source(hashes, pairs)
    assert groups[0] == groups[1] == groups[3]
    assert groups[2] == groups[4]
    assert len(set(groups)) == 3
    assert group_by_source(hashes[::-1], []) == [digest[:16] for digest in hashes[::-1]]


def test_certain_pairs_of_real_photos_are_found(shared, cache):
    with (shared / "source_pairs.csv").open(newline="") as file:
        listed = {(row["a"], row["b"]) for row in csv.DictReader(file) if int(row["inliers"]) >= 20}
    wanted = sorted(listed)[:20]
    names = sorted({name for pair in wanted for name in pair})
    folder = shared / "real_and_fake_face"
    paths = [next(folder.rglob(name)) for name in names]
    pairs = find_source_pairs(paths, names)
    found = {frozenset((names[pair.first], names[pair.second])) for pair in pairs}
    hits = sum(frozenset(pair) in found for pair in wanted)
    assert hits >= 0.95 * len(wanted)
    assert max(Counter(group_by_source(names, pairs)).values()) <= 12
