"""The checks `surroundings` and `history` of `training.measure.audit.audit`.

They ask what tells a source's fakes from the real photos beside them in training batches. One
classifier sees only what lies outside the face's box, the other only how a photo was encoded and
resampled: JPEG's 8x8 blocks and the spectrum. Neither sees a face, so a network that learns what
they see has learned how the sets were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.fft import dctn
from tqdm import trange

from space.faces import Face
from training.config import DEFAULT_RECIPE, RECIPES, TrainConfig
from training.data.rows import LABELS, Photo
from training.fit.pairs import PairBatches
from training.fit.variation import MARGINS, Variation

INSIDE = 0.1  # a cell is outside if a smaller share of it is in the box
BLOCK = 8  # px of JPEG's blocks
RINGS = 24  # of the spectrum
DIRECTIONS = 8


@dataclass(frozen=True)
class DrawnPhotos:
    """Photos of one source's fakes and of the real ones beside them, as training sees them.

    Attributes:
        surroundings: `surroundings_features` of each, `float64 [photos, features]`.
        history: `history_features` of each, `float64 [photos, features]`.
        truth: labels `int [photos]`, 1 = fake.
        groups: the group of each photo.
    """

    surroundings: np.ndarray
    history: np.ndarray
    truth: np.ndarray
    groups: list[str]


def draw_by_source(
    photos: Sequence[Photo], originals: Mapping[int, int], *, pairs: int, seed: int
) -> Iterator[tuple[str, DrawnPhotos]]:
    """Draw the fakes of each source beside real photos as training does, without composites.

    Args:
        photos: photos of the training split, all of them readable.
        originals: position of the real photo that a fake was made from, by that of the fake.
        pairs: number of pairs of each source.
        seed: seed of the draw.

    Yields:
        The name of a source with fakes, and the photos drawn.
    """
    reals = [index for index, photo in enumerate(photos) if not photo.is_fake]
    for source in sorted({photo.source for photo in photos if photo.is_fake}):
        fakes = [
            index for index, photo in enumerate(photos) if photo.is_fake and photo.source == source
        ]
        members = [*reals, *fakes]
        position = {index: place for place, index in enumerate(members)}
        own = {position[fake]: position[originals[fake]] for fake in fakes if fake in originals}
        batches = _RecordedBatches([photos[index] for index in members], own, seed)
        yield source, batches.draw(pairs, source)


def surroundings_features(photo: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return features of what lies outside the face's box.

    Args:
        photo: `float32` `[side, side, 3]`, RGB, 0 to 255.
        inside: `float32` `[cells, cells]`, the share of each cell that lies in the box.

    Returns:
        `float64 [18]`: share of the photo that is outside; there, mean and deviation of R, G and B,
        deviation and median size of the Laplacian, mean gradient, and the share of each of eight
        gradient directions. All 0 if nothing is outside.
    """
    outside = np.kron(inside < INSIDE, np.ones([len(photo) // len(inside)] * 2)) > 0
    if not outside.any():
        return np.zeros(10 + DIRECTIONS)
    grey = photo.mean(axis=2)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)[outside]
    down, across = (gradient[outside] for gradient in np.gradient(grey))
    strength = np.hypot(down, across)
    turns = np.arctan2(down, across) / (2 * np.pi)
    directions = np.floor(turns * DIRECTIONS).astype(int) % DIRECTIONS
    shares = np.bincount(directions, strength, DIRECTIONS) / (strength.sum() + 1e-6)
    colours = photo[outside]
    texture = [laplacian.std(), np.median(np.abs(laplacian)), strength.mean()]
    return np.array(
        [outside.mean(), *colours.mean(axis=0), *colours.std(axis=0), *texture, *shares]
    )


def history_features(photo: np.ndarray) -> np.ndarray:
    """Return features of how a photo was encoded and resampled.

    Args:
        photo: `float32` `[side, side, 3]`, RGB, 0 to 255; `side` is a multiple of 8.

    Returns:
        `float64 [103]`: share of the steps between neighbouring rows and columns at each place of
        an 8 px grid, starting at the largest; mean size of the 63 frequencies of 8x8 px blocks, and
        radial spectrum in 24 rings, both on a logarithmic scale.
    """
    grey = photo.mean(axis=2)
    steps = [np.abs(np.diff(grey, axis=axis)).mean(axis=axis - 1) for axis in (0, 1)]
    places = np.array([[row[place::BLOCK].mean() for place in range(BLOCK)] for row in steps])
    places = np.array([np.roll(row, -row.argmax()) for row in places / (places.sum() + 1e-6)])
    cells = len(grey) // BLOCK
    blocks = grey.reshape(cells, BLOCK, cells, BLOCK).swapaxes(1, 2)
    sizes = np.abs(dctn(blocks, axes=(2, 3), norm="ortho")).mean(axis=(0, 1)).ravel()[1:]
    return np.concatenate([places.ravel(), np.log(sizes + 1e-3), _spectrum(grey)])


class SinglePairs(PairBatches):
    """Batches of one pair, varied as in the default recipe.

    `options` are the other arguments of `PairBatches`.
    """

    def __init__(self, photos: Sequence[Photo], **options) -> None:
        config = TrainConfig(**RECIPES[DEFAULT_RECIPE])
        super().__init__(
            photos,
            edits={},
            variation=Variation.from_config(config),
            batch_size=2,
            input_size=config.input_size,
            epoch_photos=0,
            **options,
        )


class _RecordedBatches(SinglePairs):
    """Training's pairs without composites, which record the photos drawn.

    The face's box takes the place of the mask.
    """

    def __init__(self, photos: Sequence[Photo], originals: Mapping[int, int], seed: int) -> None:
        super().__init__(photos, originals=originals, composites=0.0, masks=True, seed=seed)
        self._drawn: list[int] = []

    def draw(self, pairs: int, source: str) -> DrawnPhotos:
        """Draw so many pairs; the source names the progress bar."""
        surroundings, history, groups = [], [], []
        for number in trange(pairs, desc=f"Drawing {source}", unit="pair"):
            pair, targets = self[number]
            for photo, inside in zip(pair, targets["evidence"][..., 0], strict=True):
                surroundings.append(surroundings_features(photo, inside))
                history.append(history_features(photo))
            groups += [self._photos[index].group for index in self._drawn]
        truth = np.tile(np.arange(len(LABELS)), pairs)
        return DrawnPhotos(np.array(surroundings), np.array(history), truth, groups)

    def _partner(self, fake: int, *rest) -> int:
        real = super()._partner(fake, *rest)
        self._drawn = [real, fake]
        return real

    def _choose_pair(self, *arguments) -> list[tuple]:
        pair = super()._choose_pair(*arguments)
        return [(pixels, _box(face, pixels.shape[:2]), face) for pixels, _, face in pair]


def _box(face: Face | None, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask `float32 [height, width]` of a face's box.

    Without a face, it is the square that training takes for one.
    """
    height, width = shape
    if face is None:
        side = min(height, width) / MARGINS[1]
        face = Face(((width - side) / 2, (height - side) / 2, side, side), None, 0.0)
    left, top, box_width, box_height = (round(value) for value in face.box)
    mask = np.zeros(shape, np.float32)
    mask[max(0, top) : max(0, top + box_height), max(0, left) : max(0, left + box_width)] = 1
    return mask


def _spectrum(grey: np.ndarray) -> np.ndarray:
    """Return the logarithms of the mean energy in rings of the spectrum, minus their mean."""
    window = np.hanning(len(grey))  # else the steps at the borders would fill the spectrum
    energy = np.abs(np.fft.rfft2((grey - grey.mean()) * window[:, None] * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(len(grey))[:, None], np.fft.rfftfreq(len(grey)))
    rings = np.minimum((frequency * 2 * RINGS).astype(int), RINGS - 1)
    means = np.bincount(rings.ravel(), energy.ravel(), RINGS) / np.bincount(rings.ravel())
    logarithms = np.log(means + 1e-3)
    return logarithms - logarithms.mean()
