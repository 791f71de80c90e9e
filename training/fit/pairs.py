"""Batches of pairs: a real photo beside a fake, and where the fake was changed.

A fake is paired with its original, with a real photo of the same person or clip, or with another
real photo of its source. A source of fakes alone borrows real photos from other sources, often
everyday ones. Such photos have different processing histories, so either may be re-encoded on
another block grid. A share of the fakes are composites made from the photo beside them
(`training.fit.composites`). Both photos of a pair get the same random framing, light, blur, noise
and compression, so that only the manipulation tells them apart. Sources are drawn by the square
root of the number of their groups (people, scenes or methods), so that small sources are seen often
enough and no source gives away the label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from space.faces import Face
from space.photos import open_photo
from training.data.rows import LABELS, PARTS, Photo
from training.data.sources import lookup
from training.errors import UserError
from training.fit.composites import compose, part_region
from training.fit.decoded import DecodedPhotos
from training.fit.degrade import jpeg, reencode
from training.fit.masks import pair_masks
from training.fit.variation import UNKNOWN, Variation, vary

CACHED_PHOTOS = 8192  # 0.2 MB each at 256 px
SELF_BLENDED = 0.2  # share of composites whose donor is the base itself
DONORS = 8  # candidates for a composite; the one with the pose nearest to the base's is used
# Composites and their bases are re-encoded, as the dataset's fakes were after their edit: a part
# without traces of JPEG would give a composite away, and the dataset's fakes have no such clue.
QUALITIES = (75, 97)
ORIGINAL = 0.5  # how often a fake is paired with its original, if that is known
SAME_GROUP = 0.5  # how often a fake is paired with a real photo of its group, if there is one
FOREIGN = 0.1  # how often with one of another source, although its own has some
EVERYDAY = 0.5  # share of those that are from sources of everyday photos
REENCODED = 0.5  # share of the photos in pairs of two sources that are re-encoded

Batch = tuple[np.ndarray, dict[str, np.ndarray]]


@dataclass
class _Source:
    """Positions of one source's photos."""

    name: str
    real: list[int] = field(default_factory=list)
    fake: list[int] = field(default_factory=list)
    bases: list[int] = field(default_factory=list)  # real photos with landmarks
    groups: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # real photos
    names: set[str] = field(default_factory=set)  # of all groups


class _Lot:
    """Draws sources by the square root of the number of their groups."""

    def __init__(self, sources: Sequence[_Source]) -> None:
        self.sources = list(sources)
        weights = np.sqrt([len(source.names) for source in self.sources])
        self._shares = weights / weights.sum() if self.sources else weights

    def draw(self, rng: np.random.Generator) -> _Source:
        return self.sources[rng.choice(len(self.sources), p=self._shares)]


class PairBatches:
    """Draws training batches of pairs.

    A batch is photos `float32` `[batch, size, size, 3]` (RGB, 0 to 255), real and fake in turn, and
    a dict: `probabilities`, one-hot labels `[batch, 2]`, and with `masks` also `evidence`,
    `float32` `[batch, size / 16, size / 16, 1]`, the share of each place that was changed, or
    `UNKNOWN`. Seed, epoch and position alone determine a batch.

    Attributes:
        epoch: the epoch whose batches are drawn.
        decoded: where decoded photos are kept; `None` keeps the latest ones in memory.
    """

    decoded: DecodedPhotos | None = None

    def __init__(
        self,
        photos: Sequence[Photo],
        *,
        originals: Mapping[int, int],
        edits: Mapping[int, np.ndarray],
        variation: Variation,
        batch_size: int,
        input_size: int,
        epoch_photos: int,
        composites: float,
        masks: bool,
        seed: int,
        first_epoch: int = 0,
    ) -> None:
        """Prepare to draw.

        Args:
            photos: of all sources; together they have both labels.
            originals: position of a fake's original by that of the fake.
            edits: boolean masks `[side, side]` of where fakes were changed, by their position.
            variation: how much photos are varied.
            batch_size: photos in a batch, an even number.
            input_size: side of the photos in px.
            epoch_photos: photos in an epoch; 0: as many as there are.
            composites: share of the pairs whose fake is made from the real photo.
            masks: whether to return where fakes were changed.
            seed: of all draws.
            first_epoch: epochs that an earlier process trained.

        Raises:
            UserError: a label is missing, or the batch size is odd.
        """
        if batch_size % 2:
            raise UserError(f"--batch-size {batch_size} is odd: pairs need an even batch size.")
        self._photos, self._originals, self._edits = list(photos), originals, edits
        self._variation, self._masks, self._composites = variation, masks, composites
        self._pairs, self._input_size = batch_size // 2, input_size
        self._batches = max(1, (epoch_photos or len(photos)) // batch_size)
        self._seed, self.epoch = seed, first_epoch
        self._faces = [photo.found_face for photo in photos]
        sources = _by_source(self._photos, self._faces)
        self._fakes = _Lot([source for source in sources if source.fake])
        self._reals = _Lot([source for source in sources if source.real])
        self._everyday = _Lot(
            [source for source in self._reals.sources if lookup(source.name).everyday]
        )
        self._bases = _Lot([source for source in sources if source.bases])

    @property
    def paths(self) -> list[Path]:
        """Paths of the photos by their positions."""
        return [photo.path for photo in self._photos]

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self._seed, self.epoch, index])
        drawn = [example for _ in range(self._pairs) for example in self._draw_pair(rng)]
        photos, masks = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
        labels = np.tile(np.eye(len(LABELS), dtype=np.float32), (self._pairs, 1))
        targets = {"probabilities": labels}
        if self._masks:
            targets["evidence"] = masks[..., None]
        return photos, targets

    def _pixels(self, index: int) -> np.ndarray:
        return _pixels(self._photos[index].path) if self.decoded is None else self.decoded[index]

    def _draw_pair(self, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return a real photo and a fake, each with its mask, with the same variation."""
        if self._bases.sources and rng.random() < self._composites:
            pair = self._make_pair(self._bases.draw(rng), rng)
        else:
            pair = self._choose_pair(self._fakes.draw(rng), rng)
        seed, variation = rng.integers(2**32), self._variation
        if not all(face and face.landmarks is not None for _, _, face in pair):
            variation = replace(variation, parts=0.0)  # show both by their parts, or neither
        return [
            vary(*example, variation, self._input_size, np.random.default_rng(seed))
            for example in pair
        ]

    def _make_pair(self, source: _Source, rng: np.random.Generator) -> list[tuple]:
        """Return photo, mask and face of a real photo and of a composite made from it."""
        base = source.bases[rng.integers(len(source.bases))]
        composite, changed = self._composite(base, source, rng)
        photo, quality = self._pixels(base), rng.integers(*QUALITIES)
        return [
            (jpeg(pixels, quality), mask, self._faces[base])
            for pixels, mask in ((photo, np.zeros_like(changed)), (composite, changed))
        ]

    def _choose_pair(self, source: _Source, rng: np.random.Generator) -> list[tuple]:
        """Return photo, mask and face of a real photo and of a fake from the source."""
        fake = source.fake[rng.integers(len(source.fake))]
        real = self._partner(fake, source, rng)
        photos = [self._pixels(index) for index in (real, fake)]
        masks = [np.zeros(photos[0].shape[:2], np.float32), self._changed(fake)]
        if self._photos[real].source != source.name:
            photos = [
                reencode(photo, rng) if rng.random() < REENCODED else photo for photo in photos
            ]
        return list(zip(photos, masks, [self._faces[real], self._faces[fake]], strict=True))

    def _partner(self, fake: int, source: _Source, rng: np.random.Generator) -> int:
        """Return the position of the real photo that a fake is paired with."""
        if fake in self._originals and rng.random() < ORIGINAL:
            return self._originals[fake]
        same_group = source.groups.get(self._photos[fake].group)
        if same_group and rng.random() < SAME_GROUP:
            return same_group[rng.integers(len(same_group))]
        if not source.real or rng.random() < FOREIGN:
            everyday = self._everyday.sources and rng.random() < EVERYDAY
            source = (self._everyday if everyday else self._reals).draw(rng)
        return source.real[rng.integers(len(source.real))]

    def _composite(
        self, base: int, source: _Source, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        donor = base
        if rng.random() >= SELF_BLENDED:
            base_shape = _shape(self._faces[base].landmarks)
            candidates = rng.choice(source.bases, DONORS)
            group = self._photos[base].group
            candidates = [
                candidate for candidate in candidates if self._photos[candidate].group != group
            ] or [base]
            distances = [
                np.abs(_shape(self._faces[candidate].landmarks) - base_shape).sum()
                for candidate in candidates
            ]
            donor = candidates[int(np.argmin(distances))]
        return compose(
            self._pixels(base),
            self._faces[base].landmarks,
            self._pixels(donor),
            self._faces[donor].landmarks,
            rng,
        )

    def _changed(self, fake: int) -> np.ndarray:
        """Return the mask of where a fake was changed, as far as that is known."""
        photo, face = self._photos[fake], self._faces[fake]
        shape = self._pixels(fake).shape[:2]
        if fake in self._edits:
            return self._edits[fake].astype(np.float32)
        parts = [part for part in PARTS if getattr(photo, part) == 1]
        extent = lookup(photo.source).changed
        if extent == "all":
            return np.ones(shape, np.float32)
        if (parts or extent == "face") and face is not None and face.landmarks is not None:
            whole = len(parts) in (0, len(PARTS))
            return part_region(face.landmarks, parts, shape, whole=whole) / np.float32(255)
        return np.full(shape, UNKNOWN, np.float32)


def pair_batches(
    photos: Sequence[Photo], pairs: Sequence[tuple[int, int]], **options
) -> PairBatches:
    """Return `PairBatches` of photos of a prepared folder, with what is known about its fakes.

    Args:
        photos: the photos.
        pairs: positions of fakes and their originals, as `read_source_pairs` returns them.
        options: as for `PairBatches`.
    """
    # If the source tells the changed region, nothing needs to be compared.
    compared = [pair for pair in pairs if not lookup(photos[pair[0]].source).changed]
    edits, _ = pair_masks(photos, compared)
    return PairBatches(photos, originals=dict(pairs), edits=edits, **options)


def _by_source(photos: Sequence[Photo], faces: Sequence[Face | None]) -> list[_Source]:
    sources: dict[str, _Source] = {}
    for index, (photo, face) in enumerate(zip(photos, faces, strict=True)):
        source = sources.setdefault(photo.source, _Source(photo.source))
        source.names.add(photo.group)
        (source.fake if photo.is_fake else source.real).append(index)
        if not photo.is_fake:
            source.groups[photo.group].append(index)
            if face is not None and face.landmarks is not None:
                source.bases.append(index)
    for label in LABELS:
        if not any(getattr(source, label) for source in sources.values()):
            raise UserError(f"No source has {label} training photos: pairs need both labels.")
    return [sources[name] for name in sorted(sources)]


def _shape(landmarks: np.ndarray) -> np.ndarray:
    """Return landmarks `[5, 2]` normalised for position and size."""
    centred = landmarks - landmarks.mean(axis=0)
    return centred / max(np.linalg.norm(centred), 1e-6)


@lru_cache(CACHED_PHOTOS)
def _pixels(path: Path) -> np.ndarray:
    pixels = np.asarray(open_photo(path))
    pixels.flags.writeable = False  # all callers share the array
    return pixels
