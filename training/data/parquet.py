"""Write the photos of Parquet files to image files, sorted into real and fake.

The Hugging Face Hub keeps most datasets in this form: a column with the bytes of image files, and a
column of labels.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from datasets import ClassLabel, Features, Image, IterableDataset, Value, load_dataset
from tqdm import tqdm

from training.errors import UserError

IMAGE_COLUMNS = ("image", "img", "photo", "picture", "face")
LABEL_COLUMNS = ("label", "labels", "class", "target", "category")
# Spellings that leave no doubt, compared without anything but letters. A number says nothing, and
# "edited" or "human" may describe either kind.
_THINGS = r"(image|photo|picture|face|frame|video)?s?"
REAL = re.compile(rf"(training)?(real|original|authentic|genuine){_THINGS}")
FAKE = re.compile(rf"(training)?(fake|deepfake|synthetic|artificial|(ai)?generated|ai){_THINGS}")
SHOWN = 6  # labels or columns that an error names
REMEDY = "sort its photos into folders `real` and `fake` and give the folder that holds these"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoTable:
    """A Parquet file of photos.

    Attributes:
        rows: its rows as a stream; images stay encoded.
        image: name of the column of images.
        label: name of the column of labels.
        labels: `"real"` or `"fake"` for each value of that column.
    """

    rows: IterableDataset
    image: str
    label: str
    labels: Mapping[object, str]


def write_photos(files: Sequence[Path], folder: Path, title: str) -> dict[str, int]:
    """Write every photo of some Parquet files below `folder/real` and `folder/fake`.

    The bytes do not change, nor do the photos' names unless several are equal. Rows without a photo
    or without a label, as in the test splits of challenges, are left out.

    Args:
        files: the Parquet files; some may hold something other than photos.
        folder: an empty folder.
        title: the dataset's name in error messages.

    Returns:
        The number of photos by label, `"real"` first.

    Raises:
        UserError: a column of images or of labels is missing, a label says neither real nor fake,
            or there are no photos.
        pyarrow.ArrowException, OSError: a file is damaged.
    """
    tables = find_tables(files, title)
    free_names = {label: _FreeNames(folder / label) for label in ("real", "fake")}
    counts = dict.fromkeys(free_names, 0)
    left_out = 0
    for label, content, name in _rows(tables):
        if label is None or not content:
            left_out += 1
            continue
        free_names[label].next(name).write_bytes(content)
        counts[label] += 1
    if left_out:
        log.info("%d rows of %s without a photo or a label are left out.", left_out, title)
    if not any(counts.values()):
        raise UserError(
            f"None of the {left_out} rows of {title} holds both a photo and a label: {REMEDY}."
        )
    return counts


def find_tables(files: Sequence[Path], title: str) -> list[PhotoTable]:
    """Return a table for each file with images and labels; at least one file must have both.

    Args:
        files: Parquet files.
        title: the dataset's name in error messages.

    Raises:
        UserError: no file has both, or a label says neither real nor fake.
        pyarrow.ArrowException, OSError: a file is damaged.
    """
    tables, skipped = [], []
    for path in files:
        rows = load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        if _image_columns(rows.features) and _label_columns(rows.features):
            tables.append(_describe(rows, title))
        else:
            skipped.append(rows.features)
            log.info("Leaving out %s: it has no images with labels.", path.name)
    if not tables:
        missing = "labels" if any(map(_image_columns, skipped)) else "images"
        names = _listed(dict.fromkeys(name for features in skipped for name in features))
        raise UserError(f"{title} has no column of {missing} among {names}: {REMEDY}.")
    return tables


def meaning(name: str) -> str | None:
    """Return `"real"` or `"fake"` for the name of a label, `None` if it is ambiguous."""
    letters = re.sub(r"[^a-z]", "", name.lower())
    if REAL.fullmatch(letters):
        return "real"
    return "fake" if FAKE.fullmatch(letters) else None


def _image_columns(features: Features) -> list[str]:
    """Return the column that is named like an image, or else all that may hold images."""
    holders = [
        name
        for name, feature in features.items()
        if isinstance(feature, Image)
        or (isinstance(feature, dict) and "bytes" in feature)
        or (feature == Value("binary") and name.lower() in IMAGE_COLUMNS)
    ]
    named = [name for wanted in IMAGE_COLUMNS for name in holders if name.lower() == wanted]
    return named[:1] or holders


def _label_columns(features: Features) -> list[str]:
    """Return the columns that may hold labels, likely ones first."""
    likely = [
        name
        for wanted in LABEL_COLUMNS
        for name, feature in features.items()
        if name.lower() == wanted and isinstance(feature, ClassLabel | Value)
    ]
    class_labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    return list(dict.fromkeys(likely + class_labels))


def _describe(rows: IterableDataset, title: str) -> PhotoTable:
    images = _image_columns(rows.features)
    if len(images) > 1:
        raise UserError(
            f"{title} has several columns of images ({_listed(images)}), none of which is called "
            f"`image`: {REMEDY}."
        )
    names_by_column = {
        column: _label_names(rows, column) for column in _label_columns(rows.features)
    }
    for column, names in names_by_column.items():
        labels = {value: meaning(name) for value, name in names.items()}
        if all(labels.values()):
            if isinstance(rows.features[images[0]], Image):
                rows = rows.cast_column(images[0], Image(decode=False))
            return PhotoTable(rows.select_columns([images[0], column]), images[0], column, labels)
    column, names = next(iter(names_by_column.items()))
    raise UserError(
        f"{title} has the labels {_listed(names.values())} in its column `{column}`, which do not "
        f"all say real or fake: {REMEDY}."
    )


def _label_names(rows: IterableDataset, column: str) -> dict[object, str]:
    """Return the name of each value of a column."""
    if isinstance(rows.features[column], ClassLabel):
        return dict(enumerate(rows.features[column].names))
    values = dict.fromkeys(row[column] for row in rows.select_columns([column]))
    return {value: str(value) for value in values if value is not None}


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:SHOWN]) + more


def _rows(tables: Sequence[PhotoTable]) -> Iterator[tuple[str | None, bytes | None, str]]:
    """Yield the label, bytes and name of every photo; what a row lacks is `None` or empty."""
    with tqdm(desc="Unpacking", unit="photo") as bar:
        for table in tables:
            for row in table.rows:
                yield table.labels.get(row[table.label]), *_unpack(row[table.image])
                bar.update()


def _unpack(image: dict | bytes | None) -> tuple[bytes | None, str]:
    if isinstance(image, dict):
        return image["bytes"], image.get("path") or ""
    return image, ""


class _FreeNames:
    """File names that are unique in a folder, however many rows share a name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.uses: Counter[str] = Counter()
        self.taken: set[str] = set()

    def next(self, name: str) -> Path:
        """Return an unused path with this name, numbered if it is taken."""
        stem = re.sub(r"[^\w.-]+", "_", PurePath(name).stem, flags=re.ASCII).lstrip(".")[:150]
        suffix = re.sub(r"[^\w.]+", "", PurePath(name).suffix, flags=re.ASCII)[:10]
        return self.folder / f"{self._free_stem(stem or 'photo')}{suffix or '.image'}"

    def _free_stem(self, stem: str) -> str:
        while True:
            self.uses[stem] += 1
            number = self.uses[stem]
            candidate = stem if number == 1 else f"{stem}-{number}"
            if candidate.lower() not in self.taken:  # on some disks `A` and `a` are one file
                self.taken.add(candidate.lower())
                return candidate
