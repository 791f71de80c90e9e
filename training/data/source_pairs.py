"""Find photos that share a source photo, and group them.

A fake and the real photo that it was made from are nearly the same picture with opposite labels: in
different splits, they turn a test of detection into one of memory. They are found by local features
(SIFT, Lowe 2004, https://doi.org/10.1023/B:VISI.0000029664.99615.94) whose matches agree on one
similarity transform.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm, trange

from space.photos import open_photo, resize_square
from training.data.likeness import NEIGHBOURS as LIKELY
from training.data.likeness import likely_pairs

# Settings of the search for sources; changing any of them invalidates the cached pairs.
SEARCH_SIDE = 512  # px: photos of 256 px have enough features when enlarged twofold
FEATURES = 300  # of a photo, at most
NEIGHBOURS = 9  # looked up for each feature
DISTINCT = 0.9  # a match is nearer than this share of the distance to the last neighbour
TOLERANCE = 4.0  # px by which a match may miss the transform
SCALES = (0.4, 2.5)  # of the transform
MIN_INLIERS = 8  # matches from which on two photos are kept together

# Settings of the search in large sets.
EXHAUSTIVE = 4000  # up to this many photos, all are compared
RATIO = 0.8  # Lowe's: distance of the nearest descriptor in the other photo to that of the second
CHUNK = 256
STORED = np.dtype(
    [
        ("number", np.int32),
        ("points", np.float32, (FEATURES, 2)),
        ("descriptors", np.uint8, (FEATURES, 128)),
    ]
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourcePair:
    """Two photos that share a source photo, by their positions in a list.

    Attributes:
        first: position of one, the lower.
        second: position of the other.
        inliers: matches between them that agree on one similarity transform.
        extent: share of the frame that those matches span, 0 to 1: large where one photo was made
            from the other, small where it only lent a part.
    """

    first: int
    second: int
    inliers: int
    extent: float


def find_source_pairs(paths: Sequence[Path], hashes: Sequence[str]) -> list[SourcePair]:
    """Find the pairs of photos that share a source photo.

    Up to `EXHAUSTIVE` photos, every feature is looked up among those of all photos, which takes two
    minutes for two thousand photos. In larger sets, only photos that look alike are compared, in
    constant memory, and an interrupted search reuses the features that it has stored.

    Pairs are cached below `$XDG_CACHE_HOME` or `~/.cache`.

    Args:
        paths: readable photos.
        hashes: the sha256 of each.

    Returns:
        Pairs with at least `MIN_INLIERS` inliers, in order.
    """
    cache = _cache_path(hashes)
    if cache.is_file():
        with cache.open(newline="") as file:
            pairs = [
                SourcePair(int(first), int(second), int(inliers), float(extent))
                for first, second, inliers, extent in csv.reader(file)
            ]
        log.info("The photos' sources are known already (%s).", cache)
        return pairs
    # FLANN's trees and RANSAC draw from OpenCV's generator; its seed makes pairs reproducible.
    cv2.setRNGSeed(0)
    cache.parent.mkdir(parents=True, exist_ok=True)
    if len(paths) <= EXHAUSTIVE:
        pairs = _search_all(paths)
    else:
        pairs = _search_likely(paths, cache.with_suffix(".unfinished"))
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.partial")
    with partial.open("w", newline="") as file:
        csv.writer(file).writerows(map(astuple, pairs))
    partial.replace(cache)
    return pairs


def _search_all(paths: Sequence[Path]) -> list[SourcePair]:
    """Return the pairs among all photos."""
    points, descriptors, owners = _all_features(paths)
    compared = [
        (first, second, *_agreement(places))
        for first, second, places in _candidates(points, descriptors, owners)
    ]
    return [SourcePair(*pair) for pair in compared if pair[2] >= MIN_INLIERS]


def _search_likely(paths: Sequence[Path], store: Path) -> list[SourcePair]:
    """Return the pairs among the photos that look alike.

    Args:
        paths: the photos.
        store: file for the features of each photo (41 KB each). An interrupted search leaves it for
            the next one; a finished search deletes it.
    """
    candidates = likely_pairs(paths)
    _store_features(paths, store)
    features = np.memmap(store, STORED, mode="r")

    def compare(candidate: np.ndarray) -> SourcePair:
        first, second = candidate.tolist()
        places = _matched_places(features[first], features[second])
        return SourcePair(first, second, *_agreement(places))

    pairs = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in trange(0, len(candidates), CHUNK, desc="Comparing", unit=f"{CHUNK} pairs"):
            compared = pool.map(compare, candidates[start : start + CHUNK])
            pairs += [pair for pair in compared if pair.inliers >= MIN_INLIERS]
    store.unlink()
    return pairs


def _store_features(paths: Sequence[Path], store: Path) -> None:
    """Append the features of each photo to a file that may already hold those of the first ones."""
    with ThreadPoolExecutor(os.cpu_count()) as pool, store.open("ab") as file:
        done = file.tell() // STORED.itemsize
        file.truncate(done * STORED.itemsize)
        for start in trange(done, len(paths), CHUNK, desc="Describing", unit=f"{CHUNK} photos"):
            for record in pool.map(_record, paths[start : start + CHUNK]):
                file.write(record.tobytes())


def _record(path: Path) -> np.ndarray:
    """Return a photo's features as a `STORED`."""
    points, descriptors = _sift(path)
    record = np.zeros((), STORED)
    number = record["number"] = min(len(points), FEATURES)
    record["points"][:number] = points[:number]
    record["descriptors"][:number] = descriptors[:number]
    return record


def _matched_places(first: np.void, second: np.void) -> np.ndarray:
    """Return the places of matches `[matches, 4]` between two `STORED`: features that are each
    other's nearest and pass Lowe's ratio test."""
    points, descriptors = zip(*(_restore(record) for record in (first, second)), strict=True)
    if min(map(len, points)) < MIN_INLIERS:
        return np.zeros((0, 4), np.float32)
    similarity = descriptors[0] @ descriptors[1].T
    nearest = similarity.argmax(axis=1)
    second_best, best = np.partition(similarity, -2, axis=1)[:, -2:].T
    distinct = 1 - best < RATIO**2 * (1 - second_best)  # half the squared distances
    distinct &= similarity.argmax(axis=0)[nearest] == np.arange(len(nearest))
    places = np.concatenate([points[0][distinct], points[1][nearest[distinct]]], axis=1)
    return np.unique(places.round(1), axis=0)  # a feature with two orientations counts once


def _restore(record: np.void) -> tuple[np.ndarray, np.ndarray]:
    number = record["number"]
    return record["points"][:number], _root(record["descriptors"][:number].astype(np.float32))


def group_by_source(hashes: Sequence[str], pairs: Sequence[SourcePair]) -> list[str]:
    """Return a group name for each photo, the same for photos that belong together.

    Args:
        hashes: the sha256 of each photo; photos with the same content belong together.
        pairs: pairs of photos that belong together.

    Returns:
        16 hexadecimal digits for each photo: the start of the lowest hash in its group.
    """
    first_index = {}
    edges = [(pair.first, pair.second) for pair in pairs]
    edges += [(first_index.setdefault(digest, index), index) for index, digest in enumerate(hashes)]
    rows, columns = np.array(edges).T
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(hashes), len(hashes)))
    _, components = connected_components(graph, directed=False)
    lowest: dict[int, str] = {}
    for component, digest in zip(components, hashes, strict=True):
        lowest[component] = min(digest, lowest.get(component, digest))
    return [lowest[component][:16] for component in components]


def _cache_path(hashes: Sequence[str]) -> Path:
    settings = (SEARCH_SIDE, FEATURES, NEIGHBOURS, DISTINCT, TOLERANCE, SCALES, MIN_INLIERS, 2)
    if len(hashes) > EXHAUSTIVE:
        settings += (RATIO, LIKELY)
    digest = hashlib.sha256(repr((cv2.__version__, settings, list(hashes))).encode()).hexdigest()
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "deepfake-face-detector" / f"source-pairs-{digest[:16]}.csv"


def _all_features(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places `[features, 2]`, descriptors `[features, 128]` and photos `[features]`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(_features, paths)
        described = list(tqdm(jobs, total=len(paths), desc="Describing", unit="photo"))
    points, descriptors = (np.concatenate(arrays) for arrays in zip(*described, strict=True))
    return (
        points,
        descriptors,
        np.repeat(np.arange(len(paths)), [len(photo_features[0]) for photo_features in described]),
    )


def _features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return places and RootSIFT descriptors of a photo."""
    points, descriptors = _sift(path)
    return points, _root(descriptors)


def _sift(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return places and SIFT descriptors of a photo, which are whole numbers from 0 to 255."""
    grey = np.asarray(resize_square(open_photo(path), SEARCH_SIDE).convert("L"))
    keypoints, descriptors = cv2.SIFT_create(FEATURES).detectAndCompute(grey, None)
    if not keypoints:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    return np.array([point.pt for point in keypoints], np.float32), descriptors


def _root(descriptors: np.ndarray) -> np.ndarray:
    """Return RootSIFT descriptors (Arandjelović and Zisserman, CVPR 2012)."""
    return np.sqrt(descriptors / descriptors.sum(axis=1, keepdims=True).clip(1e-6))


def _candidates(
    points: np.ndarray, descriptors: np.ndarray, owners: np.ndarray
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (photo, later photo, places of their matches `[matches, 4]`) if there are enough."""
    if len(points) <= NEIGHBOURS:
        return
    queries, neighbours = _matches(descriptors, owners)
    swap = owners[queries] > owners[neighbours]
    first, second = np.where(swap, (neighbours, queries), (queries, neighbours))
    places = np.concatenate([points[first], points[second]], axis=1).round(1)
    keys = owners[first] * (owners.max() + 1) + owners[second]
    order = np.argsort(keys, kind="stable")
    _, starts = np.unique(keys[order], return_index=True)
    for matches in np.split(order, starts[1:]):
        # A match that is found from both sides, or with two orientations, counts once.
        distinct = np.unique(places[matches], axis=0)
        if len(distinct) >= MIN_INLIERS:
            yield int(owners[first[matches[0]]]), int(owners[second[matches[0]]]), distinct


def _matches(descriptors: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of features, and of distinctly near features in other photos."""
    index = cv2.flann.Index(descriptors, {"algorithm": 1, "trees": 4})  # 1: k-d trees
    queries, neighbours = [], []
    step = 10_000
    for start in tqdm(range(0, len(descriptors), step), desc="Matching", unit="batch"):
        block = descriptors[start : start + step]
        nearest, squares = index.knnSearch(block, NEIGHBOURS, params={"checks": 48})
        foreign = owners[nearest] != owners[start : start + len(block), None]
        near = squares < DISTINCT**2 * squares[:, -1:]
        rows, columns = np.nonzero(foreign & near)
        queries.append(rows + start)
        neighbours.append(nearest[rows, columns])
    return np.concatenate(queries), np.concatenate(neighbours)


def _agreement(places: np.ndarray) -> tuple[int, float]:
    """Return how many matches `[matches, 4]` agree on one similarity transform, and the share of
    the frame that they span without the outermost tenth in each direction."""
    if len(places) < MIN_INLIERS:
        return 0, 0.0
    transform, agree = cv2.estimateAffinePartial2D(
        np.ascontiguousarray(places[:, :2]),
        np.ascontiguousarray(places[:, 2:]),
        ransacReprojThreshold=TOLERANCE,
    )
    if transform is None or not SCALES[0] < np.hypot(*transform[:, 0]) < SCALES[1]:
        return 0, 0.0
    inliers = places[agree[:, 0] > 0, :2]
    low, high = np.percentile(inliers, [5, 95], axis=0)
    return len(inliers), round(float(np.prod((high - low) / SEARCH_SIDE)), 3)
