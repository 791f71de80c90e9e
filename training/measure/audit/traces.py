"""What the checks of `training.measure.audit.audit` see of photos."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from space.faces import FaceFinder
from space.photos import FORMATS, PhotoError, open_photo, resize_square
from training.config import SPLITS
from training.data.find import find_photos
from training.data.rows import LABELS, REPORT, read_split
from training.data.source_pairs import find_source_pairs, group_by_source
from training.errors import UserError
from training.finder import load_finder
from training.measure.figures import MIN_PHOTOS

FOLDS = 5  # of the classifiers; a set needs as many groups of each label
SIDE = 256  # px of the square that border and hash are taken from
RING = 20  # px: 8 % of the side; ciplab's faces fill about 75 % of the frame
HASHED_SIDE = 32  # px

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Traces:
    """What the checks see of a photo.

    Attributes:
        digest: sha256 of the file.
        encoding: format, mode, chroma sampling, progression and quantisation tables, as text.
        sizes: size in bytes, width, height, bytes per pixel and the means of the first two
            quantisation tables (0 where there is none), `float64 [6]`.
        border: see `border_features`.
        framing: left, top, width and height of the largest face's box as shares of the square,
            `float64 [4]`; -1 where no face was found.
        bits: see `perceptual_hash`.
    """

    digest: str
    encoding: str
    sizes: np.ndarray
    border: np.ndarray
    framing: np.ndarray
    bits: np.ndarray


@dataclass(frozen=True)
class PhotoSet:
    """The readable photos of an audit.

    Attributes:
        names: paths below the audited folder.
        truth: labels `int [photos]`, 1 = fake.
        groups: photos of one group share a source.
        splits: the split of each; empty for a folder without splits.
        traces: what the checks see of each.
        unreadable: names of the photos that were skipped.
    """

    names: list[str]
    truth: np.ndarray
    groups: list[str]
    splits: list[str]
    traces: list[Traces]
    unreadable: list[str]


def read_photos(data: Path) -> PhotoSet:
    """Return what the checks see of the photos of a folder; damaged photos are skipped.

    Raises:
        UserError: see `audit`.
    """
    splits, groups = [], []
    if (data / REPORT).is_file():
        rows = [(split, photo) for split in SPLITS for photo in read_split(data, split)]
        splits, photos = map(list, zip(*rows, strict=True))
        groups = [photo.group for photo in photos]
    else:
        photos = find_photos(data)
    names = [photo.path.relative_to(data).as_posix() for photo in photos]
    examined = _examine_all([photo.path for photo in photos])
    readable = [index for index, traces in enumerate(examined) if traces]
    unreadable = [name for name, traces in zip(names, examined, strict=True) if not traces]
    if unreadable:
        log.warning("Skipped %d unreadable photos, first %s.", len(unreadable), unreadable[0])
    traces = [examined[index] for index in readable]
    truth = np.array([LABELS.index(photos[index].label) for index in readable], dtype=int)
    _check_number(data, truth)
    if groups:
        groups = [groups[index] for index in readable]
    else:
        hashes = [photo_traces.digest for photo_traces in traces]
        pairs = find_source_pairs([photos[index].path for index in readable], hashes)
        groups = group_by_source(hashes, pairs)
    _check_variety(data, truth, groups)
    kept = [splits[index] for index in readable] if splits else []
    return PhotoSet([names[index] for index in readable], truth, groups, kept, traces, unreadable)


def border_features(square: Image.Image) -> np.ndarray:
    """Return features of the outer ring of a square photo.

    Args:
        square: RGB, 256 x 256 px.

    Returns:
        `float32 [36]`: for the top, bottom, left and right strip of 20 px the means and the
        deviations of R, G and B, mean and deviation of the gradient's length, and the mean
        size of the Laplacian, which compression and resampling change first.
    """
    pixels = np.asarray(square, dtype=np.float32)
    grey = pixels.mean(axis=2)
    gradient = np.hypot(*np.gradient(grey))
    detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    features = []
    for strip in (np.s_[:RING], np.s_[-RING:], np.s_[:, :RING], np.s_[:, -RING:]):
        colours, lengths = pixels[strip].reshape(-1, 3), gradient[strip]
        features += [*colours.mean(axis=0), *colours.std(axis=0)]
        features += [lengths.mean(), lengths.std(), detail[strip].mean()]
    return np.array(features, dtype=np.float32)


def perceptual_hash(square: Image.Image) -> np.ndarray:
    """Return 64 bits that a picture keeps when it is resized or encoded again.

    They say which of the 64 lowest frequencies of the grey picture's cosine transform, without the
    constant ones, are above their median (pHash; Zauner 2010, "Implementation and benchmarking of
    perceptual image hash functions"). A mirrored picture has other bits.

    Returns:
        `bool [64]`.
    """
    grey = square.convert("L").resize((HASHED_SIDE, HASHED_SIDE), Image.Resampling.BOX)
    lowest = dctn(np.asarray(grey, dtype=float))[1:9, 1:9].ravel()
    return lowest > np.median(lowest)


def _examine_all(paths: Sequence[Path]) -> list[Traces | None]:
    finder = load_finder()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(_examine, paths, repeat(finder))
        return list(tqdm(jobs, total=len(paths), desc="Examining", unit="photo"))


def _examine(path: Path, finder: FaceFinder) -> Traces | None:
    """Return what the checks see of a photo, `None` where it cannot be read."""
    try:
        content = path.read_bytes()
        square = resize_square(open_photo(content), SIDE)
    except (OSError, PhotoError):
        return None
    encoding, sizes = _read_header(content)
    digest = hashlib.sha256(content).hexdigest()
    faces = finder.find(square)
    framing = np.array(faces[0].box) / SIDE if faces else np.full(4, -1.0)
    bits = perceptual_hash(square)
    return Traces(digest, encoding, sizes, border_features(square), framing, bits)


def _read_header(content: bytes) -> tuple[str, np.ndarray]:
    """Return `encoding` and `sizes` of `Traces`; no pixel is decoded.

    Metadata of cameras and editors (EXIF) is left out: no detector sees it, and it leaves no trace
    in the pixels.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as photo:
        tables = [list(table) for table in getattr(photo, "quantization", {}).values()]
        sampling, progressive = getattr(photo, "layer", None), "progressive" in photo.info
        encoding = repr((photo.format, photo.mode, sampling, progressive, tables))
        means = [float(np.mean(table)) for table in [*tables, [0], [0]][:2]]
        width, height = photo.size
    n_bytes = len(content)
    return encoding, np.array([n_bytes, width, height, n_bytes / (width * height), *means])


def _check_number(data: Path, truth: np.ndarray) -> None:
    if len(truth) < MIN_PHOTOS:
        raise UserError(
            f"{data} holds {len(truth)} readable photos: an audit takes {MIN_PHOTOS} or more."
        )
    if len(set(truth)) < len(LABELS):
        raise UserError(f"{data} holds {LABELS[truth[0]]} photos only: an audit takes both labels.")


def _check_variety(data: Path, truth: np.ndarray, groups: Sequence[str]) -> None:
    """Refuse a set whose folds could lack a label."""
    for label, name in enumerate(LABELS):
        n_groups = len(
            {
                group
                for group, photo_label in zip(groups, truth, strict=True)
                if photo_label == label
            }
        )
        if n_groups < FOLDS:
            raise UserError(
                f"The {name} photos of {data} come from {n_groups} sources: an audit takes {FOLDS} "
                "or more of each label."
            )
