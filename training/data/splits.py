"""Group photos that belong together, and deal the groups into splits."""

from __future__ import annotations

import csv
import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.config import SPLITS
from training.data.find import SourcePhoto
from training.data.rows import CERTAIN_INLIERS, LABELS
from training.data.source_pairs import SourcePair, find_source_pairs, group_by_source
from training.data.sources import lookup
from training.errors import UserError

# In twentieths: 70 / 15 / 15 %.
FOLDS = {"train": 14, "validation": 3, "test": 3}
FOLD_VALIDATION = 3  # in twentieths as well
MIN_SOURCE = 20  # photos of each label, and groups, that a source needs to be split by itself

log = logging.getLogger(__name__)


def read_given_splits(path: Path, photos: Sequence[SourcePhoto]) -> dict[SourcePhoto, str]:
    """Return the split of each photo that a CSV file names by `source` and `file`.

    `file` is the path below the folder that holds the photo's real or fake folder. Rows of sources
    that are not prepared are ignored.

    Raises:
        UserError: the file cannot be read, has other columns, names photos or splits that do not
            exist, or gives a photo two splits.
    """
    named: dict[tuple[str, str], str] = {}
    sources = {photo.source for photo in photos}
    for source, name, split in _read_rows(path, ("source", "file", "split")):
        if source not in sources:
            continue
        if split not in SPLITS:
            raise UserError(f"{path} has the split {split!r}: give {', '.join(SPLITS)}.")
        earlier = named.setdefault((source, name), split)
        if earlier != split:
            raise UserError(
                f"{path} puts {name} of {source} into {earlier} and {split}: give it one split."
            )
    places = [(photo.source, photo.place) for photo in photos]
    missing = named.keys() - set(places)
    if missing:
        source, name = min(missing)
        raise UserError(
            f"{path} names photos that are not there ({len(missing)}, the first {name} of "
            f"{source}): give all places of that source, or remove the lines."
        )
    given = {
        photo: named[place] for photo, place in zip(photos, places, strict=True) if place in named
    }
    log.info("%s gives the split of %d of %d photos.", path, len(given), len(photos))
    return given


def _read_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return some columns of a CSV file that a user gave."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            missing = set(columns) - set(reader.fieldnames or ())
            rows = [] if missing else [tuple(row[name] or "" for name in columns) for row in reader]
    except OSError as error:
        raise UserError(f"--splits {path} cannot be read ({error.strerror}).") from error
    except csv.Error as error:
        raise UserError(f"--splits {path} is no CSV file ({error}).") from error
    if missing:
        raise UserError(
            f"--splits {path} lacks the columns {', '.join(sorted(missing))}: add them."
        )
    return rows


def deal(
    photos: Sequence[SourcePhoto],
    strata: Sequence[str],
    hashes: Sequence[str],
    given: Mapping[SourcePhoto, str],
    *,
    group_by: str,
    seed: int,
) -> tuple[list[SourcePair], list[str], list[str]]:
    """Find the photos that belong together, and deal all of them into splits.

    Args:
        photos: the readable photos.
        strata: stratum of each photo; splits hold equal shares of every stratum.
        hashes: the sha256 of each photo.
        given: what `read_given_splits` returned.
        group_by: `"sources"` keeps photos of one source photo or video in one split, `"files"`
            only identical files.
        seed: seed of the deal.

    Returns:
        The pairs that share a source photo, and the group and the split of each photo.

    Raises:
        UserError: a split would hold no photo of a label, or a group was given two splits.
    """
    source_pairs = _not_overruled(pairs_by_source(photos, hashes), photos, given)
    pairs = source_pairs + named_pairs(photos)
    together = pairs + same_original(photos) if group_by == "sources" else []
    groups = group_by_source(hashes, together)
    splits = split_by_source(photos, strata, groups, given, seed)
    check_splits([photo.label for photo in photos], splits)
    return pairs, groups, splits


def _not_overruled(
    pairs: Sequence[SourcePair], photos: Sequence[SourcePhoto], given: Mapping[SourcePhoto, str]
) -> list[SourcePair]:
    """Return the pairs without those that are only likely and were given two splits.

    Whoever made the splits did not take them for pairs, and which are found varies with the CPU.
    """

    def is_overruled(pair: SourcePair) -> bool:
        splits = {given.get(photos[index], "") for index in (pair.first, pair.second)} - {""}
        return pair.inliers < CERTAIN_INLIERS and len(splits) > 1

    kept = [pair for pair in pairs if not is_overruled(pair)]
    if len(kept) < len(pairs):
        log.warning(
            "%d of the pairs that may share a source photo stay apart, as --splits puts them into "
            "two splits.",
            len(pairs) - len(kept),
        )
    return kept


def check_splits(labels: Sequence[str], splits: Sequence[str]) -> None:
    """Raise `UserError` if a split has no photo of a label."""
    missing = {(split, label) for split in SPLITS for label in LABELS} - set(
        zip(splits, labels, strict=True)
    )
    for split, label in sorted(missing):
        raise UserError(
            f"Of {labels.count(label)} {label} photos none fell into the {split} split: give at "
            "least 20 of each label, from different sources."
        )


def pairs_by_source(photos: Sequence[SourcePhoto], hashes: Sequence[str]) -> list[SourcePair]:
    """Return the pairs that share a source photo, searched within each source that may have some.

    There are none between sources, and the search stays short.
    """
    pairs = []
    for source in sorted({photo.source for photo in photos}):
        if not lookup(source).shares_photos:
            continue
        members = [index for index, photo in enumerate(photos) if photo.source == source]
        source_pairs = find_source_pairs(
            [photos[index].path for index in members], [hashes[index] for index in members]
        )
        pairs += [
            replace(pair, first=members[pair.first], second=members[pair.second])
            for pair in source_pairs
        ]
    return pairs


def split_by_source(
    photos: Sequence[SourcePhoto],
    strata: Sequence[str],
    groups: Sequence[str],
    given: Mapping[SourcePhoto, str],
    seed: int,
) -> list[str]:
    """Return the split of each photo; each source is split by itself.

    Adding a source moves no photo of another one, except photos that both hold. A source that is
    too small is dealt together with the largest one. Photos with a given split keep it, and so does
    their group.
    """
    decided = _decided(photos, groups, given)
    splits = [given.get(photo, "") for photo in photos]
    dealt_with = _pools(photos, groups)
    for pool in sorted(set(dealt_with.values())):
        members = [
            index
            for index, photo in enumerate(photos)
            if dealt_with[photo.source] == pool and not splits[index]
        ]
        if all(groups[index] in decided for index in members):
            for index in members:
                splits[index] = decided[groups[index]]
            continue
        dealt = assign_splits([strata[i] for i in members], [groups[i] for i in members], seed)
        for index, split in zip(members, dealt, strict=True):
            splits[index] = decided.setdefault(groups[index], split)
    return splits


def _pools(photos: Sequence[SourcePhoto], groups: Sequence[str]) -> dict[str, str]:
    """Return the source that each source is dealt with: itself, or the largest one with both labels
    if it holds too few photos of one of its labels, or too few groups."""
    sizes = Counter((photo.source, photo.label) for photo in photos)
    grouped = Counter(
        source
        for source, _ in {
            (photo.source, group) for photo, group in zip(photos, groups, strict=True)
        }
    )
    counts = {name: [sizes[name, label] for label in LABELS] for name in sorted(grouped)}
    largest = max(counts, key=lambda name: (min(counts[name]), max(counts[name])))
    return {
        name: name if min(grouped[name], *filter(None, label_counts)) >= MIN_SOURCE else largest
        for name, label_counts in counts.items()
    }


def _decided(
    photos: Sequence[SourcePhoto], groups: Sequence[str], given: Mapping[SourcePhoto, str]
) -> dict[str, str]:
    """Return the split of every group that has a photo with a given split.

    Raises:
        UserError: a group was given two splits.
    """
    first: dict[str, SourcePhoto] = {}
    for photo, group in zip(photos, groups, strict=True):
        if photo not in given:
            continue
        earlier = first.setdefault(group, photo)
        if given[earlier] != given[photo]:
            raise UserError(
                f"{earlier.source} {earlier.place} and {photo.source} {photo.place} share a source,"
                f" but --splits puts them into {given[earlier]} and {given[photo]}: give both one "
                "split."
            )
    return {group: given[photo] for group, photo in first.items()}


def named_pairs(photos: Sequence[SourcePhoto]) -> list[SourcePair]:
    """Return the pairs of a fake and the real photo that it was made from, if its name states it.

    The names are `VIDEO__OTHER` and `VIDEO__VIDEO` in one source, or `SOURCE__NAME` and NAME in
    that source. No photos are compared: the pairs have no inliers, and the whole frame as extent.
    """
    reals = {
        (photo.source, photo.path.stem): index
        for index, photo in enumerate(photos)
        if photo.label == "real"
    }
    pairs = []
    for index, photo in enumerate(photos):
        if photo.label == "fake" and photo.original:
            rest = photo.path.stem.removeprefix(f"{photo.original}__")
            names = [(photo.original, rest), (photo.source, f"{photo.original}__{photo.original}")]
            originals = [reals[name] for name in names if name in reals]
            pairs += [
                SourcePair(min(index, real), max(index, real), inliers=0, extent=1.0)
                for real in originals[:1]
            ]
    return pairs


def same_original(photos: Sequence[SourcePhoto]) -> list[SourcePair]:
    """Return pairs of photos that come from one video, according to their names."""
    latest: dict[tuple[str, str], int] = {}
    pairs = []
    sources = {photo.source for photo in photos}
    for index, photo in enumerate(photos):
        # The part before `__` may name another source, or say nothing about the photo.
        if photo.original not in {"", *sources} and lookup(photo.source).named_groups:
            key = (photo.source, photo.original)
            if key in latest:
                pairs.append(SourcePair(latest[key], index, inliers=0, extent=0.0))
            latest[key] = index
    return pairs


def assign_splits(strata: Sequence[str], groups: Sequence[str], seed: int) -> list[str]:
    """Assign every photo to a split: 70 % train, 15 % validation, 15 % test.

    Args:
        strata: stratum of each photo (label and difficulty); splits hold equal shares of each.
        groups: photos with the same group stay together.
        seed: decides the order in which groups are dealt.

    Returns:
        `"train"`, `"validation"` or `"test"` for each photo.

    Raises:
        UserError: there are too few groups to deal.
    """
    split_of_part = [split for split, parts in FOLDS.items() for _ in range(parts)]
    return [split_of_part[part] for part in _deal(strata, groups, seed)]


def assign_folds(
    strata: Sequence[str], groups: Sequence[str], seed: int, folds: int
) -> list[list[str]]:
    """Assign every photo to a split, once for each fold, so that each is tested exactly once.

    Args:
        strata: stratum of each photo (label and difficulty); splits hold equal shares of each.
        groups: photos with the same group stay together.
        seed: decides the order in which groups are dealt.
        folds: 2, 4, 5 or 10. A fold's test split is `1 / folds` of the photos; 15 % are its
            validation split.

    Returns:
        For each fold, `"train"`, `"validation"` or `"test"` for each photo.

    Raises:
        UserError: there are too few photos, or `folds` is none of these numbers.
    """
    n_parts = sum(FOLDS.values())
    if folds not in (2, 4, 5, 10):
        raise UserError(f"--folds {folds} is not 2, 4, 5 or 10.")
    parts = np.array(_deal(strata, groups, seed))
    assigned = []
    for fold in range(folds):
        offset = (parts - fold * n_parts // folds) % n_parts
        is_test = offset < n_parts // folds
        is_validation = ~is_test & (offset < n_parts // folds + FOLD_VALIDATION)
        assigned.append(
            np.select([is_test, is_validation], ["test", "validation"], "train").tolist()
        )
    return assigned


def _deal(strata: Sequence[str], groups: Sequence[str], seed: int) -> list[int]:
    """Deal the photos into 20 parts of equal make-up; return the part of each."""
    n_parts = sum(FOLDS.values())
    splitter = StratifiedGroupKFold(n_splits=n_parts, shuffle=True, random_state=seed)
    parts = [0] * len(strata)
    if len(set(groups)) < n_parts:
        raise UserError(
            f"{len(strata)} photos of {len(set(groups))} people or scenes are too few to be split: "
            f"give those of at least {n_parts}."
        )
    with warnings.catch_warnings():
        # scikit-learn says so of every stratum with fewer than 20 photos, and spreads it as evenly
        # as possible.
        warnings.filterwarnings("ignore", message="The least populated class")
        dealt = splitter.split(np.zeros(len(strata)), list(strata), list(groups))
        for part, (_, indices) in enumerate(dealt):
            for index in indices:
                parts[index] = part
    return parts
