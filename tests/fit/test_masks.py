import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.drawing import draw_face
from training.data.rows import PAIRS, PhotoRow, read_split
from training.fit.degrade import jpeg
from training.fit.masks import MaskRejected, edit_mask, find_targets, part_mask

SIDE = 256


def portrait(seed: int) -> np.ndarray:
    """Return a drawn face with the speckles and shades that a photo has."""
    rng = np.random.default_rng(seed)
    shades = sum(
        cv2.resize(
            rng.normal(0, 12, (cells, cells, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
        )
        for cells in (8, 32, 64)
    )
    return (np.asarray(draw_face(seed, SIDE)) + shades).clip(0, 255).astype(np.uint8)


def ellipse(centre: tuple[float, float], axes: tuple[float, float]) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    points = (tuple(round(SIDE * share) for share in pair) for pair in (centre, axes))
    return cv2.ellipse(mask, *points, 0, 0, 360, 1, -1).astype(bool)


def swap(base: np.ndarray, donor: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return a fake: the base scaled and shifted, a region of another photo pasted in, then
    brightened, with noise."""
    transform = np.array([[1.04, 0, -7.5], [0, 1.04, 3.2]])
    moved = cv2.warpAffine(base, transform, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    pasted = np.where(where[..., None], donor, moved) * 1.05 + 4
    noise = np.random.default_rng(0).normal(0, 2, base.shape)
    return (pasted + noise).clip(0, 255).astype(np.uint8)


def overlap(mask: np.ndarray, other: np.ndarray) -> float:
    return (mask & other).sum() / (mask | other).sum()


MOUTH = ellipse((0.5, 0.75), (0.16, 0.09))


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray]:
    return portrait(1), portrait(2)


def test_mask_of_a_swap_covers_what_was_pasted(faces):
    base, donor = faces
    mask = edit_mask(swap(base, donor, MOUTH), base)
    assert mask.shape == (SIDE, SIDE)
    assert mask.dtype == bool
    assert overlap(mask, MOUTH) > 0.6


def test_two_swapped_parts_stay_apart(faces):
    base, donor = faces
    eye = ellipse((0.35, 0.45), (0.1, 0.07))
    mask = edit_mask(swap(base, donor, MOUTH | eye), base)
    assert overlap(mask, MOUTH | eye) > 0.6
    assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 3  # one is the background


def test_pairs_without_a_mask_say_why(faces):
    base, donor = faces
    with pytest.raises(MaskRejected, match="not registered"):
        edit_mask(portrait(5), base)
    with pytest.raises(MaskRejected, match="too little"):
        edit_mask(jpeg(base, 85), base)
    all_but_frame = np.zeros_like(MOUTH)
    all_but_frame[24:-24, 24:-24] = True
    with pytest.raises(MaskRejected, match="too much"):
        edit_mask(swap(base, 255 - donor, all_but_frame), base)
    with pytest.raises(MaskRejected, match="frame differs"):
        edit_mask(swap(base, donor, ellipse((0.5, 0.6), (0.3, 0.3))), donor)


def row(left_eye: float | None, right_eye: float | None, nose: float | None, mouth: float | None):
    return PhotoRow("a.jpg", "fake", "s", "easy", left_eye, right_eye, nose, mouth, "g", "")


def centre(mask: np.ndarray) -> tuple[float, float]:
    """Return the mean column and row of a mask as shares of its side."""
    rows, columns = np.nonzero(mask)
    return columns.mean() / len(mask), rows.mean() / len(mask)


def test_boxes_follow_the_bits():
    left, right, nose, mouth = (part_mask(row(*bits), 100) for bits in np.eye(4))
    assert centre(left)[0] < 0.45 < 0.55 < centre(right)[0]
    assert centre(left)[1] < centre(nose)[1] < centre(mouth)[1]
    np.testing.assert_array_equal(part_mask(row(1, 0, 0, 1), 100), left | mouth)


def test_four_replaced_parts_are_the_whole_face():
    whole = part_mask(row(1, 1, 1, 1), 100)
    parts = np.any([part_mask(row(*bits), 100) for bits in np.eye(4)], axis=0)
    assert whole[parts].all()
    assert whole.sum() > parts.sum()


def test_unknown_or_unchanged_parts_have_no_box():
    assert part_mask(row(None, None, None, None), 100) is None
    assert part_mask(row(0, 0, 0, 0), 100) is None


def test_targets_take_the_pair_where_it_gives_a_mask(data, faces, tmp_path):
    folder = shutil.copytree(data, tmp_path / "faces")
    photos = read_split(folder, "train")
    fakes = [index for index, photo in enumerate(photos) if photo.is_fake][:3]
    reals = [index for index, photo in enumerate(photos) if not photo.is_fake][:2]
    base, donor = faces
    content = {fakes[0]: swap(base, donor, MOUTH), reals[0]: base, reals[1]: portrait(5)}
    for index, pixels in content.items():
        Image.fromarray(pixels).save(photos[index].path, quality=95)
    photos[fakes[2]] = replace(
        photos[fakes[2]], left_eye=None, right_eye=None, nose=None, mouth=None
    )
    lines = ["first,second,inliers,extent"] + [
        f"{photos[real].path.relative_to(folder)},{photos[fakes[0]].path.relative_to(folder)},99,0.5"
        for real in reals
    ]
    (folder / PAIRS).write_text("\n".join(lines) + "\n")
    targets, rejected = find_targets(folder, photos)
    assert rejected == {"not registered": 1}
    by_path = {target.photo.path: target for target in targets}
    assert by_path[photos[fakes[0]].path].kind == "pair"
    assert overlap(by_path[photos[fakes[0]].path].mask, MOUTH) > 0.6
    assert by_path[photos[fakes[1]].path].kind == "box"
    assert photos[fakes[2]].path not in by_path
    assert all(target.photo.is_fake for target in targets)
