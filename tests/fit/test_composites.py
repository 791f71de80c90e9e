from collections import Counter

import cv2
import numpy as np
import pytest

from tests.drawing import FACE_LANDMARKS, draw_face
from training.data.rows import PARTS
from training.fit import composites as module
from training.fit.composites import PART_COUNTS, compose, draw_parts, part_region

SIDE = 128
LANDMARKS = np.array(FACE_LANDMARKS, np.float32) * SIDE
LEFT, RIGHT, NOSE = (tuple(np.rint(point).astype(int)) for point in LANDMARKS[:3])
MOUTH = tuple(np.rint(LANDMARKS[3:].mean(axis=0)).astype(int))
PLACES = dict(zip(PARTS, (LEFT, RIGHT, NOSE, MOUTH), strict=True))


def face(seed: int) -> np.ndarray:
    """Return a drawn face, read-only like the photos in training."""
    pixels = np.array(draw_face(seed, SIDE))
    pixels.flags.writeable = False
    return pixels


BASE, DONOR = face(1), face(2)


@pytest.fixture(params=[0.0, 1.0], ids=["feathered", "poisson"])
def blending(request, monkeypatch):
    """Use each way of blending on its own."""
    monkeypatch.setattr(module, "POISSON", request.param)


def composed(
    seed: int, base=BASE, base_landmarks=LANDMARKS, donor=DONOR, donor_landmarks=LANDMARKS
):
    return compose(base, base_landmarks, donor, donor_landmarks, np.random.default_rng(seed))


def covers(region: np.ndarray, place: tuple[int, int]) -> bool:
    column, row = place
    return bool(region[row, column])


def test_parts_are_drawn_as_often_as_the_makers_chose_them():
    rng = np.random.default_rng(0)
    drawn = Counter(draw_parts(rng) for _ in range(8000))
    total = sum(PART_COUNTS.values())
    for bits, number in PART_COUNTS.items():
        names = tuple(part for part, bit in zip(PARTS, bits, strict=True) if bit)
        assert drawn.pop(names, 0) / 8000 == pytest.approx(number / total, abs=0.02)
    assert not drawn  # no other combination, and no other order


@pytest.mark.parametrize("part", PARTS)
def test_a_region_covers_its_part_and_no_other(part):
    region = part_region(LANDMARKS, [part], (SIDE, SIDE))
    assert (region.dtype, region.shape) == (np.uint8, (SIDE, SIDE))
    assert set(np.unique(region)) == {0, 255}
    assert [name for name, place in PLACES.items() if covers(region, place)] == [part]


def test_left_and_right_are_the_image_s():
    _, columns = np.nonzero(part_region(LANDMARKS, ["left_eye"], (SIDE, SIDE)))
    assert columns.max() < SIDE / 2
    _, columns = np.nonzero(part_region(LANDMARKS, ["right_eye"], (SIDE, SIDE)))
    assert columns.min() > SIDE / 2


def test_regions_of_several_parts_are_theirs_together():
    parts = ["left_eye", "mouth"]
    regions = [part_region(LANDMARKS, [part], (SIDE, SIDE)) for part in parts]
    both = part_region(LANDMARKS, parts, (SIDE, SIDE))
    np.testing.assert_array_equal(both, np.maximum(*regions))


def test_the_whole_face_is_one_piece_and_more_than_its_parts():
    whole = part_region(LANDMARKS, [], (SIDE, SIDE), whole=True) > 0
    parts = part_region(LANDMARKS, PARTS, (SIDE, SIDE)) > 0
    assert all(covers(whole, place) for place in PLACES.values())
    assert whole.sum() > parts.sum()
    assert not whole[[0, -1]].any()
    assert 0.2 < whole.mean() < 0.7


def test_a_random_region_is_another_one_around_the_same_place():
    usual = part_region(LANDMARKS, ["mouth"], (SIDE, SIDE)) > 0
    drawn = [
        part_region(LANDMARKS, ["mouth"], (SIDE, SIDE), np.random.default_rng(seed)) > 0
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    assert all(covers(region, MOUTH) for region in drawn)
    assert all(0.5 < region.sum() / usual.sum() < 2.2 for region in drawn)


def test_a_region_turns_with_the_face():
    upside_down = SIDE - 1 - LANDMARKS
    region = part_region(upside_down, PARTS, (SIDE, SIDE))
    turned = part_region(LANDMARKS, PARTS, (SIDE, SIDE))[::-1, ::-1]
    assert np.mean(region != turned) < 0.01


@pytest.mark.usefixtures("blending")
@pytest.mark.parametrize("seed", range(12))
def test_a_composite_changes_what_its_mask_says_and_nothing_else(seed):
    before = BASE.copy(), DONOR.copy()
    composite, share = composed(seed)
    assert (composite.shape, composite.dtype) == (BASE.shape, BASE.dtype)
    assert (share.shape, share.dtype) == (BASE.shape[:2], np.float32)
    assert share.min() == 0
    assert 0.7 < share.max() <= 1
    np.testing.assert_array_equal(composite[share == 0], BASE[share == 0])
    change = np.abs(composite.astype(int) - BASE).max(axis=2)
    assert change[share > 0.5].mean() > 4
    assert np.mean(change[share > 0.5] > 0) > 0.7
    np.testing.assert_array_equal(BASE, before[0])
    np.testing.assert_array_equal(DONOR, before[1])
    assert composite.flags.writeable
    assert not np.shares_memory(composite, BASE)


@pytest.mark.usefixtures("blending")
def test_a_seed_makes_the_same_composite():
    first, same, different = composed(3), composed(3), composed(4)
    np.testing.assert_array_equal(first[0], same[0])
    np.testing.assert_array_equal(first[1], same[1])
    assert (first[0] != different[0]).any()


@pytest.mark.usefixtures("blending")
def test_no_straight_seam_at_the_rectangle_in_which_it_is_computed(monkeypatch):
    # The softest outlines reach farthest.
    monkeypatch.setattr(module, "SOFTNESS", (0.12, 0.12))
    for seed in range(20):
        _, share = composed(seed)
        rows, columns = (np.flatnonzero(share.any(axis=axis)) for axis in (1, 0))
        edges = [(share[rows[0]], rows[0] > 0), (share[rows[-1]], rows[-1] < SIDE - 1)]
        edges += [(share[:, columns[0]], columns[0] > 0)]
        edges += [(share[:, columns[-1]], columns[-1] < SIDE - 1)]
        assert all(edge.max() < 0.02 for edge, is_inner in edges if is_inner)


def test_what_is_laid_in_is_the_donor_aligned_by_the_landmarks(monkeypatch):
    """With nothing else varied, the same face, scaled and turned, fits over itself."""
    monkeypatch.setattr(module, "POISSON", 0.0)
    monkeypatch.setattr(module, "REDRAWN", 0.0)
    monkeypatch.setattr(module, "_recolour", lambda part, *rest: part)
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 25, 1.4)
    turned = cv2.warpAffine(BASE, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101)
    landmarks = np.float32(LANDMARKS @ turn[:, :2].T + turn[:, 2])
    for seed in range(5):
        composite, share = composed(seed, donor=turned, donor_landmarks=landmarks)
        different, _ = composed(seed)
        near, far = (
            np.abs(photo.astype(int) - BASE)[share > 0.5].mean() for photo in (composite, different)
        )
        assert near < far / 1.5


def test_alignment_is_off_by_a_little():
    donor = LANDMARKS @ np.float32([[0.5, 0.2], [-0.2, 0.5]]) + 7
    turns, misses = [], []
    for seed in range(200):
        transform = module._alignment(donor, LANDMARKS, np.random.default_rng(seed))
        turns.append((transform[:, 0] @ [1, 1j]) * (0.5 + 0.2j))
        misses.append(np.mean(donor @ transform[:, :2].T + transform[:, 2] - LANDMARKS, axis=0))
    turns, misses = np.array(turns), np.array(misses) / (LANDMARKS[1, 0] - LANDMARKS[0, 0])
    assert abs(turns.mean() - 1) < 0.01
    assert 0.01 < np.std(np.angle(turns)) < 0.06
    assert 0.01 < np.std(np.log(np.abs(turns))) < 0.08
    assert np.abs(misses.mean(axis=0)).max() < 0.01
    assert ((misses.std(axis=0) > 0.01) & (misses.std(axis=0) < 0.06)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 10), (2, 5), (3, 9), (4, 4)], ids=str)
def test_slivers_do_not_crash_the_solver(size):
    """OpenCV's solver fails for regions as thin as those at a photo's border may be."""
    target, inside = np.array(BASE[:30, :30]), np.zeros((30, 30), np.uint8)
    inside[: size[0] + 1, 10 : 10 + size[1]] = 255  # the outermost row is dropped
    assert module._blend_gradients(target, np.array(DONOR[:30, :30]), inside).shape == (30, 30, 3)


def test_blending_gradients_takes_the_base_s_colours(monkeypatch):
    monkeypatch.setattr(module, "_recolour", lambda part, *rest: part)
    bright = (DONOR * 0.6 + 100).astype(np.uint8)
    for seed in range(5):
        gaps = []
        for share_blended in (1.0, 0.0):
            monkeypatch.setattr(module, "POISSON", share_blended)
            composite, share = composed(seed, donor=bright)
            change = composite.astype(int) - BASE
            gaps.append(abs(change[(share > 0.2) & (share < 0.6)].mean()))
        assert gaps[0] < gaps[1] / 2


@pytest.mark.usefixtures("blending")
def test_a_face_can_be_blended_into_itself():
    for seed in range(6):
        composite, share = composed(seed, donor=BASE)
        different, _ = composed(seed)
        np.testing.assert_array_equal(composite[share == 0], BASE[share == 0])
        change = np.abs(composite.astype(int) - BASE)[share > 0.5].mean()
        assert 0.5 < change < np.abs(different.astype(int) - BASE)[share > 0.5].mean()


def test_colours_come_near_to_those_of_the_base(monkeypatch):
    monkeypatch.setattr(module, "POISSON", 0.0)
    tinted = (DONOR * [1.0, 0.5, 0.2]).astype(np.uint8)
    gaps = []
    for seed in range(10):
        composite, share = composed(seed, donor=tinted)
        inside = share > 0.5
        gaps.append(np.abs(composite[inside].mean(axis=0) - BASE[inside].mean(axis=0)).mean())
    pasted = np.abs(tinted.mean(axis=(0, 1)) - BASE.mean(axis=(0, 1))).mean()
    assert np.median(gaps) < pasted / 2


@pytest.mark.usefixtures("blending")
@pytest.mark.parametrize(
    "shift", [(-60, 0), (60, 20), (0, -62), (5, 60), (-45, -58)], ids=lambda shift: str(shift)
)
def test_a_face_at_the_border_works(shift):
    moved = LANDMARKS + np.float32(shift)
    for seed in range(6):
        for landmarks in ((moved, LANDMARKS), (LANDMARKS, moved), (moved, moved)):
            composite, share = composed(seed, BASE, landmarks[0], DONOR, landmarks[1])
            assert composite.shape == BASE.shape
            assert 0 <= share.min() <= share.max() <= 1
            np.testing.assert_array_equal(composite[share == 0], BASE[share == 0])


@pytest.mark.usefixtures("blending")
def test_a_face_outside_the_photo_changes_nothing():
    composite, share = composed(0, BASE, LANDMARKS + 10 * SIDE)
    np.testing.assert_array_equal(composite, BASE)
    assert not share.any()
    assert composite.flags.writeable


@pytest.mark.usefixtures("blending")
@pytest.mark.parametrize("apart", [0, 0.5, 6])
def test_a_profile_works(apart):
    profile = LANDMARKS.copy()
    profile[1] = profile[0] + np.float32([apart, 0])
    profile[4] = profile[3] + np.float32([apart / 2, 0])
    for seed in range(6):
        for landmarks in ((profile, LANDMARKS), (LANDMARKS, profile), (profile, profile)):
            composite, share = composed(seed, BASE, landmarks[0], DONOR, landmarks[1])
            np.testing.assert_array_equal(composite[share == 0], BASE[share == 0])
            assert 0.005 < np.mean(share > 0.3) < 0.7


def test_landmarks_at_one_place_do_not_fail():
    nowhere = np.full((5, 2), SIDE / 2, np.float32)
    for seed in range(4):
        assert np.isfinite(composed(seed, BASE, nowhere, DONOR, nowhere)[1]).all()
        assert composed(seed, BASE, LANDMARKS, DONOR, nowhere)[0].shape == BASE.shape


def test_photos_need_not_be_square_nor_alike():
    wide, tall = np.array(BASE[:90]), np.array(draw_face(5, 200))[:, 20:170]
    composite, share = composed(1, wide, LANDMARKS - [0, 20], tall, LANDMARKS * (200 / SIDE))
    assert (composite.shape, share.shape) == (wide.shape, wide.shape[:2])
    np.testing.assert_array_equal(composite[share == 0], wide[share == 0])
