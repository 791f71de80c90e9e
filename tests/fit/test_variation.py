from dataclasses import replace

import cv2
import numpy as np
import pytest

from space.faces import Face
from tests.drawing import FACE_BOX, FACE_LANDMARKS, draw_face
from training.fit import variation as module
from training.fit.variation import UNKNOWN, Variation, vary

SIDE, SIZE = 96, 128
AS_IT_IS = Variation(
    rotation=0.0, shift=0.0, flip=False, brightness=0.0, channel_shift=0.0, degrade=0.0
)
ALL = Variation(
    rotation=15.0, shift=0.1, flip=True, brightness=0.15, channel_shift=15.0, degrade=0.7
)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.array(draw_face(1, SIDE))


FACE = Face(tuple(SIDE * share for share in FACE_BOX), None, 1.0)


def varied(pixels, mask, variation, seed, face=FACE):
    return vary(pixels, mask, face, variation, SIZE, np.random.default_rng(seed))


def test_flips_mirror_photo_and_mask_together(pixels):
    mask = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    flips = []
    for seed in range(20):
        photo, grid = varied(pixels, mask, AS_IT_IS, seed)
        flipped, flipped_grid = varied(pixels, mask, replace(AS_IT_IS, flip=True), seed)
        flips.append(not np.array_equal(photo, flipped))
        direction = -1 if flips[-1] else 1
        np.testing.assert_array_equal(flipped, photo[:, ::direction])
        np.testing.assert_allclose(flipped_grid, grid[:, ::direction], atol=1e-6)
    assert 4 < sum(flips) < 16


def framed(variation: Variation, seeds: int = 30) -> np.ndarray:
    """Return middle, height and tilt of a bright box in framed photos, `[seeds, 4]`: x, y and
    height as shares of the side, the tilt in degrees."""
    pixels, mask = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), np.float32)
    pixels[50:74, 28:40] = 255
    boxes = []
    for seed in range(seeds):
        photo, _ = varied(pixels, mask, variation, seed, Face((28, 50, 12, 24), None, 1.0))
        points = np.argwhere(photo[..., 0] > 128)[:, ::-1].astype(np.float32)
        (x, y), sides, angle = cv2.minAreaRect(points)
        boxes.append((x / SIZE, y / SIZE, max(sides) / SIZE, (angle + 45) % 90 - 45))
    return np.array(boxes)


def test_framing_keeps_the_face_and_draws_its_margin():
    x, y, height, tilt = framed(AS_IT_IS).T
    np.testing.assert_allclose(x, 0.5, atol=0.04)
    assert ((y > 0.5) & (y < 0.65)).all()  # more room for hair than for the neck
    assert 1 / 1.6 < height.min() < 0.75
    assert 0.85 < height.max() <= 1
    assert not tilt.any()


def test_framing_shifts_and_turns_within_its_limits():
    x, y, _, tilt = framed(replace(AS_IT_IS, shift=0.1)).T
    assert not tilt.any()
    for moved in (x - 0.5, y - 0.58):
        assert 0.06 < np.abs(moved).max() < 0.18
        assert moved.min() < 0 < moved.max()
    x, _, _, tilt = framed(replace(AS_IT_IS, rotation=15.0)).T
    assert np.abs(x - 0.5).max() < 0.05  # around the face's middle
    assert 8 < np.abs(tilt).max() < 17
    assert tilt.min() < 0 < tilt.max()
    assert np.mean(np.abs(tilt) < 0.5) == pytest.approx(0.5, abs=0.3)  # half of them stay upright


def test_unknown_places_stay_unknown_and_others_do_not_become_it(pixels):
    unknown = np.full((SIDE, SIDE), UNKNOWN, np.float32)
    for seed in range(5):
        assert (varied(pixels, unknown, ALL, seed)[1] == UNKNOWN).all()
        assert (varied(pixels, unknown + 2, ALL, seed)[1] > 0.999).all()


def test_light_changes_within_its_limits(pixels):
    mask = np.zeros((SIDE, SIDE), np.float32)
    light = replace(AS_IT_IS, brightness=0.1, channel_shift=10.0)
    changes = []
    for seed in range(30):
        photo, _ = varied(pixels, mask, light, seed)
        plain, _ = varied(pixels, mask, AS_IT_IS, seed)
        assert 0 <= photo.min() <= photo.max() <= 255
        changes.append(np.median(photo - plain, axis=(0, 1)))
    changes = np.array(changes)
    assert 15 < np.abs(changes).max() <= 25.5 + 10
    assert np.ptp(changes, axis=1).max() > 5  # each channel by itself
    assert np.std(changes.mean(axis=1)) > 8  # all of them together


def test_a_share_is_degraded(pixels):
    mask = np.zeros((SIDE, SIDE), np.float32)
    for share, expected in ((0.0, 0.0), (0.5, 0.47), (1.0, 15 / 16)):  # 1 of 16 draws no step
        spoiled = [
            not np.array_equal(
                varied(pixels, mask, replace(AS_IT_IS, degrade=share), seed)[0],
                varied(pixels, mask, AS_IT_IS, seed)[0],
            )
            for seed in range(60)
        ]
        assert np.mean(spoiled) == pytest.approx(expected, abs=0.15)


def test_photos_without_a_face_are_framed_around_their_middle(pixels):
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[SIDE // 2 - 8 : SIDE // 2 + 8, SIDE // 2 - 8 : SIDE // 2 + 8] = 1
    for seed in range(5):
        photo, grid = varied(pixels, mask, ALL, seed, face=None)
        assert photo.shape == (SIZE, SIZE, 3)
        middle = np.s_[SIZE // 64 : -SIZE // 64]
        assert grid[middle, middle].sum() > 0.9 * grid.sum() > 0


CLOSER = replace(AS_IT_IS, parts=1.0)
MARKED = Face(FACE.box, np.array(FACE_LANDMARKS, np.float32) * SIDE, 1.0)


@pytest.fixture
def spots() -> tuple[np.ndarray, np.ndarray]:
    """A photo whose red is a pixel's column and green its row, and a mask of its left half."""
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    photo[..., 0], photo[..., 1] = np.arange(SIDE), np.arange(SIDE)[:, None]
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:, : SIDE // 2] = 1
    return photo, mask


def tiles(picture: np.ndarray) -> list[np.ndarray]:
    """Return the quarters of a picture, row by row."""
    return [part for half in np.split(picture, 2) for part in np.split(half, 2, axis=1)]


@pytest.mark.parametrize("variation", [CLOSER, replace(CLOSER, rotation=15.0, shift=0.1)])
def test_parts_are_shown_where_the_landmarks_are_framed_or_turned(spots, variation, monkeypatch):
    monkeypatch.setattr(module, "PART_SHIFT", 0.0)
    left, right, nose, *mouth = MARKED.landmarks
    for seed in range(10):
        photo, grid = varied(*spots, variation, seed, MARKED)
        for tile, mask, place in zip(
            tiles(photo), tiles(grid), (left, right, nose, np.mean(mouth, axis=0)), strict=True
        ):
            across, down = tile.mean(axis=(0, 1))[:2]
            np.testing.assert_allclose((across, down), place, atol=2.5)
            share = (tile[..., 0] < SIDE / 2).mean()  # left half, as marked by the mask
            assert mask.mean() == pytest.approx(share, abs=0.06)


def test_parts_of_a_mirrored_face_change_places(spots, monkeypatch):
    monkeypatch.setattr(module, "PART_SHIFT", 0.0)
    mirrored = [varied(*spots, replace(CLOSER, flip=True), seed, MARKED)[0] for seed in range(12)]
    eyes = [tiles(photo)[0][..., 0] for photo in mirrored]
    directions = [np.sign(part[:, -1].mean() - part[:, 0].mean()) for part in eyes]
    assert set(directions) == {-1, 1}
    for direction, photo in zip(directions, mirrored, strict=True):
        left_eye, right_eye = (part[..., 0].mean() / SIDE for part in tiles(photo)[:2])
        assert (left_eye < right_eye) == (direction > 0)


def test_without_landmarks_the_whole_face_is_shown(spots):
    expected = varied(*spots, AS_IT_IS, 3)
    for shown, wanted in zip(varied(*spots, CLOSER, 3), expected, strict=True):
        np.testing.assert_array_equal(shown, wanted)
