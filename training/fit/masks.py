"""Where a fake was changed: ground truth for `python -m training explain-test`.

There are two kinds of masks. If the real photo that a fake was made from is known, it is registered
with the fake (SIFT, Lowe 2004, https://doi.org/10.1023/B:VISI.0000029664.99615.94), and the mask is
where they differ. For other fakes the mask is boxes around the parts that their metadata names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from space.photos import open_photo
from training.data.rows import PARTS, Photo, PhotoRow, read_source_pairs
from training.data.source_pairs import SCALES, SEARCH_SIDE

FEATURES = 1500  # per photo; more than the search for pairs uses, as more matches cost nothing
DISTINCT = 0.8  # Lowe's ratio of the nearest to the second nearest descriptor
TOLERANCE = 3.0  # px in the enlarged photos by which a match may miss the transform
MIN_INLIERS = 15

# The following are shares of the photo's side.
SMOOTHING = 0.01  # sigma: finer differences are JPEG and resampling
OPENING, CLOSING = 0.02, 0.06  # diameters
FRAME = 0.1  # width of the border, where no part of a face lies

# Differences of colour, in units of CIELAB.
MAX_FRAME_CHANGE = 8.0  # measured: up to 5.6 if the photo is the fake's base, else 15 or more
MIN_CHANGE = 3.0
OTSU_SHARE = 0.6  # Otsu's threshold alone keeps eyes and lips but drops the skin pasted with them

AREAS = (0.005, 0.6)  # of the photo: less is no edit, more is another photo of the same person
MIN_COMPONENT = 0.002

# Left, top, right, bottom as shares of the photo's side; left is the image's left. YuNet
# (face_detection_yunet_2026may) found a face in all 1,741 photos of the dataset. Means and
# standard deviations of its landmarks: left eye (0.358, 0.488), right eye (0.620, 0.491), each
# +- 0.07; nose tip (0.484, 0.647) +- (0.10, 0.06); corners of the mouth (0.377, 0.760) and
# (0.599, 0.763) +- (0.08, 0.05). The boxes reach from the brow to below the eye, over the bridge
# and the wings of the nose, and around the lips.
PART_BOXES = {
    "left_eye": (0.24, 0.38, 0.48, 0.57),
    "right_eye": (0.50, 0.38, 0.74, 0.57),
    "nose": (0.38, 0.47, 0.59, 0.72),
    "mouth": (0.32, 0.67, 0.66, 0.86),
}
# For four replaced parts: the hull of their boxes. Its IoU with the masks of such pairs is 0.47;
# that of YuNet's mean bounding box of the face, (0.20, 0.19, 0.79, 0.95), is 0.31.
FACE_BOX = (0.24, 0.38, 0.74, 0.86)


class MaskRejected(ValueError):
    """Raised for a pair that gives no mask.

    Attributes:
        reason: `"not registered"`, `"frame differs"` (the photo lent a part but is not the base),
            `"too little"` or `"too much"`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """A fake and where it was changed.

    Attributes:
        photo: the fake.
        mask: boolean array `[side, side]` over the photo.
        kind: `"pair"` or `"box"`, the kind of mask.
    """

    photo: Photo
    mask: np.ndarray
    kind: str


def find_targets(data: Path, photos: Sequence[Photo]) -> tuple[list[Target], dict[str, int]]:
    """Return the fakes whose changed region is known, and how many pairs gave no mask, by reason.

    Args:
        data: folder that `prepare` wrote.
        photos: some of its photos.

    Returns:
        One target per fake: from its pair if that gives a mask, else from its parts. A fake with
        neither is left out. Of several pairs the smallest mask counts, as the others add errors of
        registration.
    """
    paired, rejected = pair_masks(photos, read_source_pairs(data, photos))
    targets = []
    for index, photo in enumerate(photos):
        if not photo.is_fake:
            continue
        if index in paired:
            targets.append(Target(photo, paired[index], "pair"))
            continue
        mask = part_mask(photo, open_photo(photo.path).width)
        if mask is not None:
            targets.append(Target(photo, mask, "box"))
    return targets, dict(sorted(rejected.items()))


def pair_masks(
    photos: Sequence[Photo], pairs: Sequence[tuple[int, int]]
) -> tuple[dict[int, np.ndarray], Counter[str]]:
    """Return masks of where fakes differ from their originals.

    Args:
        photos: of a prepared folder.
        pairs: positions of fakes and their originals, as `read_source_pairs` returns them.

    Returns:
        Boolean masks `[side, side]` by the position of their fake, and the number of rejected pairs
        by reason. Of several originals the one with the smallest mask counts.
    """
    masks: dict[int, np.ndarray] = {}
    rejected: Counter[str] = Counter()
    for fake, real in tqdm(pairs, desc="Comparing with originals", unit="pair"):
        pixels = (np.asarray(open_photo(photos[index].path)) for index in (fake, real))
        try:
            mask = edit_mask(*pixels)
        except MaskRejected as error:
            rejected[error.reason] += 1
            continue
        if fake not in masks or mask.sum() < masks[fake].sum():
            masks[fake] = mask
    return masks, rejected


def part_mask(photo: PhotoRow, side: int) -> np.ndarray | None:
    """Return a mask of boxes around the replaced parts, at their mean positions.

    Args:
        photo: its part columns are read; all four replaced means the whole face.
        side: of the photo in px.

    Returns:
        A boolean array `[side, side]`, or `None` if no part is known to be replaced.
    """
    replaced = [part for part in PARTS if getattr(photo, part) == 1]
    if not replaced:
        return None
    boxes = [FACE_BOX] if len(replaced) == len(PARTS) else [PART_BOXES[part] for part in replaced]
    mask = np.zeros((side, side), bool)
    for box in boxes:
        left, top, right, bottom = (round(share * side) for share in box)
        mask[top:bottom, left:right] = True
    return mask


def edit_mask(fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return where a fake differs from the photo that it was made from.

    Args:
        fake: `uint8` array `[side, side, 3]`, RGB.
        real: the same for the real photo.

    Returns:
        A boolean array `[side, side]`.

    Raises:
        MaskRejected: the photos cannot be registered, differ at the border, or differ too little or
            too much.
    """
    warped, covered = _lay_over(real, register(real, fake))
    edge = covered & _frame(len(fake))
    if not edge.any():
        raise MaskRejected("frame differs")
    change = np.where(covered, _change(_lab(fake), _lab(warped), covered, edge), 0)
    edge_change = change[edge]
    # A photo that only lent the fake its eyes agrees with it nowhere else.
    if np.median(edge_change) > MAX_FRAME_CHANGE:
        raise MaskRejected("frame differs")
    threshold = max(MIN_CHANGE, 2 * np.percentile(edge_change, 75), OTSU_SHARE * _otsu(change))
    mask = _clean((change > threshold) & covered)
    if mask.mean() < AREAS[0]:
        raise MaskRejected("too little")
    if mask.mean() > AREAS[1]:
        raise MaskRejected("too much")
    return mask


def register(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Return the similarity transform `[2, 3]` in px that maps one photo onto another.

    Args:
        moving: `uint8` array `[side, side, 3]`, RGB.
        fixed: the same for the other photo.

    Raises:
        MaskRejected: too few features agree on a transform.
    """
    (points, descriptors), (fixed_points, fixed_descriptors) = map(_features, (moving, fixed))
    if min(len(points), len(fixed_points)) < MIN_INLIERS:
        raise MaskRejected("not registered")
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(descriptors, fixed_descriptors, k=2)
    good = [best for best, second in nearest if best.distance < DISTINCT * second.distance]
    if len(good) < MIN_INLIERS:
        raise MaskRejected("not registered")
    transform, inliers = cv2.estimateAffinePartial2D(
        points[[match.queryIdx for match in good]],
        fixed_points[[match.trainIdx for match in good]],
        ransacReprojThreshold=TOLERANCE,
        maxIters=5000,
    )
    if transform is None or inliers.sum() < MIN_INLIERS:
        raise MaskRejected("not registered")
    if not SCALES[0] < np.hypot(*transform[:, 0]) < SCALES[1]:
        raise MaskRejected("not registered")
    transform[:, 2] *= len(fixed) / SEARCH_SIDE
    return transform


def _features(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints `[features, 2]` in px of the enlarged photo, and their descriptors.

    These are RootSIFT (Arandjelović and Zisserman, CVPR 2012).
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    large = cv2.resize(grey, (SEARCH_SIDE, SEARCH_SIDE), interpolation=cv2.INTER_CUBIC)
    # Skin has little contrast.
    sift = cv2.SIFT_create(FEATURES, contrastThreshold=0.02)
    keypoints, descriptors = sift.detectAndCompute(large, None)
    if not keypoints:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    shares = descriptors / descriptors.sum(axis=1, keepdims=True).clip(1e-6)
    return np.array([keypoint.pt for keypoint in keypoints], np.float32), np.sqrt(shares)


def _lay_over(real: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the warped photo and a mask `[side, side]` of what it covers, without its border."""
    side = len(real)
    warped = cv2.warpAffine(real, transform, (side, side), borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(real[..., 0]), transform, (side, side))
    reach = 4 * SMOOTHING * side + 1
    return warped, cv2.erode(inside, _disc(reach), borderValue=1) > 0


def _frame(side: int) -> np.ndarray:
    frame = np.ones((side, side), bool)
    width = round(FRAME * side)
    frame[width:-width, width:-width] = False
    return frame


def _change(
    fake: np.ndarray, laid: np.ndarray, covered: np.ndarray, edge: np.ndarray
) -> np.ndarray:
    """Return the smoothed difference `[side, side]` of two CIELAB photos with matched colours.

    Some fakes were brightened as a whole after the edit.
    """
    matched = laid
    for _ in range(2):
        difference = np.linalg.norm(fake - matched, axis=2)
        unchanged = covered & (difference <= np.median(difference[edge]))
        channels = zip(laid[unchanged].T, fake[unchanged].T, strict=True)
        gain, offset = np.array([np.polyfit(*channel, 1) for channel in channels], np.float32).T
        matched = laid * gain + offset
    smooth = cv2.GaussianBlur(fake - matched, (0, 0), SMOOTHING * len(fake))
    return np.linalg.norm(smooth, axis=2).astype(np.float32)


def _lab(photo: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(photo.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _otsu(change: np.ndarray) -> float:
    steps = 4  # per unit of CIELAB
    levels = (change * steps).clip(0, 255).astype(np.uint8)
    return cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)[0] / steps


def _clean(mask: np.ndarray) -> np.ndarray:
    """Return the mask without specks, holes and small components."""
    side = len(mask)
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(OPENING * side))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, _disc(CLOSING * side))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(closed), outlines, -1, 1, cv2.FILLED)
    _, components, statistics, _ = cv2.connectedComponentsWithStats(filled)
    areas = statistics[:, cv2.CC_STAT_AREA]
    largest = areas[1:].max(initial=0)
    keep = areas >= max(MIN_COMPONENT * mask.size, largest / 10)
    keep[0] = False
    return keep[components]


def _disc(diameter: float) -> np.ndarray:
    size = max(1, round(diameter))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
