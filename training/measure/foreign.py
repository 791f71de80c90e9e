"""Photos from outside prepared folders: fakes of other kinds, and ordinary real photos."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.find import find_photos
from training.data.rows import PARTS, Photo
from training.errors import UserError
from training.measure.demographics import apparent_traits
from training.measure.tiers import ORDINARY, UNSEEN
from training.score.inputs import ENDINGS

GROUPS = "groups.csv"  # in a folder of real photos: columns `file`, `group`, and what is known
FILE, GROUP = "file", "group"
_GIVEN = re.compile(r"([\w.-]+)=(.+)")
_Row = tuple[Photo, str, dict[str, str]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Elsewhere:
    """Photos from outside prepared folders.

    Attributes:
        photos: all of them.
        tiers: the tier of each photo.
        traits: values for each photo by trait of the person shown (`"age"`), `""` where unknown.
    """

    photos: list[Photo]
    tiers: list[str]
    traits: dict[str, list[str]]


def read_elsewhere(
    foreign: Sequence[str], bona_fide: Sequence[str], others: Sequence[Photo] = ()
) -> Elsewhere:
    """Return the photos in folders of fakes of other kinds and of ordinary photos.

    Args:
        foreign: `NAME=FOLDER` for each folder, see `read_foreign`.
        bona_fide: the same, see `read_bona_fide`.
        others: photos that the model was made with. Photos of the same source and name are left
            out: a network's answers about photos that it learned from say nothing about others.

    Raises:
        UserError: a folder is not what it should be, or holds no other photos.
    """
    used = {_name(photo) for photo in others}
    rows = [row for given in foreign for row in _kept(given, _foreign_rows(given, used))]
    rows += [row for given in bona_fide for row in _kept(given, _bona_fide_rows(given, used))]
    names = dict.fromkeys(name for _, _, traits in rows for name in traits)
    return Elsewhere(
        photos=[photo for photo, _, _ in rows],
        tiers=[tier for _, tier, _ in rows],
        traits={name: [traits.get(name, "") for _, _, traits in rows] for name in names},
    )


def _foreign_rows(given: str, used: Collection[tuple[str, str]]) -> list[_Row | None]:
    """Return photo, tier and traits of each photo, `None` for one that is left out."""
    photos = read_foreign(given)
    return [None if _name(photo) in used else (photo, UNSEEN, {}) for photo in photos]


def _bona_fide_rows(given: str, used: Collection[tuple[str, str]]) -> list[_Row | None]:
    """Return the same for ordinary photos."""
    photos, traits = read_bona_fide(given)
    by_photo = [
        {name: values[index] for name, values in traits.items()} for index in range(len(photos))
    ]
    return [
        None if _name(photo) in used else (photo, ORDINARY, photo_traits)
        for photo, photo_traits in zip(photos, by_photo, strict=True)
    ]


def _kept(given: str, rows: Sequence[_Row | None]) -> list[_Row]:
    """Return the rows of photos that are not left out, and log how many are."""
    kept = [row for row in rows if row is not None]
    if not kept:
        raise UserError(f"{given}: the model was made with all of these photos: give others.")
    if len(kept) < len(rows):
        log.info("%s: left out %d that the model was made with.", given, len(rows) - len(kept))
    return kept


def _name(photo: Photo) -> tuple[str, str]:
    return photo.source, photo.path.stem


def read_foreign(given: str) -> list[Photo]:
    """Return the photos of a folder that holds `real/`, `fake/` or both.

    Args:
        given: `NAME=WHERE`, as `evaluate --foreign` takes it.

    Raises:
        UserError: there is no such folder, or it has no photos in folders of these names.
    """
    name, folder = _parse("--foreign", given)
    try:
        candidates = find_photos(folder, source=name)
    except UserError as error:
        raise UserError(
            f"--foreign {name}: no photos in {folder}: put fakes into a folder `fake` in it, and "
            "real photos, if there are some, into `real`."
        ) from error
    photos = [photo for photo in candidates if _is_photo(photo.path)]
    if not photos:
        raise UserError(f"--foreign {name}: {folder} holds files, but none with a photo's ending.")
    return [
        _photo(photo.path, photo.label, name, f"{name}/{photo.original or photo.place}")
        for photo in photos
    ]


def read_bona_fide(given: str) -> tuple[list[Photo], dict[str, list[str]]]:
    """Return the photos of a folder, all taken as real, and traits of the people they show.

    Args:
        given: `NAME=WHERE`, as `evaluate --bona-fide` takes it. The folder may hold a `groups.csv`
            with the columns `file` (path below the folder), `group` (photos of one person, or of
            one video, share it; may be left out) and any others that describe who is shown.

    Returns:
        The photos, and by trait a value for each photo, `""` where unknown. Traits are the further
        columns of `groups.csv`, and those in UTKFace's file names.

    Raises:
        UserError: there is no such folder, it has no photos, or `groups.csv` is not what it should
            be.
    """
    name, folder = _parse("--bona-fide", given)
    paths = sorted(
        path
        for path in folder.rglob("*")
        if _is_photo(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise UserError(f"--bona-fide {name}: no photos in {folder}: give a folder that has some.")
    rows = _read_groups(folder / GROUPS, {path.relative_to(folder).as_posix() for path in paths})
    known = [
        apparent_traits(path.name) | rows.get(path.relative_to(folder).as_posix(), {})
        for path in paths
    ]
    photos = [
        _photo(path, "real", name, f"{name}/{row.get(GROUP) or path.relative_to(folder)}")
        for path, row in zip(paths, known, strict=True)
    ]
    columns = dict.fromkeys(column for row in known for column in row)
    traits = [column for column in columns if column not in (FILE, GROUP)]
    return photos, {trait: [row.get(trait, "") for row in known] for trait in traits}


def _parse(option: str, given: str) -> tuple[str, Path]:
    match = _GIVEN.fullmatch(given)
    if not match:
        raise UserError(f"{option} {given} names no folder: give NAME=FOLDER.")
    folder = Path(match[2])
    if not folder.is_dir():
        raise UserError(f"{option} {match[1]}: {folder} is not a folder: give one with photos.")
    return match[1], folder


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and path.is_file()


def _photo(path: Path, label: str, source: str, group: str) -> Photo:
    unknown = dict.fromkeys(PARTS)
    return Photo(path.name, label, source, "", **unknown, group=group, face="", path=path)


def _read_groups(path: Path, photos: set[str]) -> Mapping[str, dict[str, str]]:
    """Return the rows of a `groups.csv` by file; none if there is no such file."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            if FILE not in (reader.fieldnames or ()):
                raise UserError(f"{path} has no column `{FILE}`: name each photo's path in one.")
            rows = {row[FILE]: row for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): save it as UTF-8 CSV.") from error
    missing = sorted(rows.keys() - photos)
    if missing:
        raise UserError(
            f"{path} names {len(missing)} photos that are not there, the first {missing[0]}: "
            "correct the lines or remove them."
        )
    if any(None in row for row in rows.values()):
        raise UserError(f"{path} has lines with more values than columns: correct them.")
    return rows
