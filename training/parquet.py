"""Write the photos of Parquet files out as files, sorted into real and fake.

The Hugging Face Hub keeps most datasets in this form: a column of images with the bytes of their
files, and a column of labels.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pyarrow.parquet as pq
from datasets import ClassLabel, Features, Image, Value
from tqdm import tqdm

from training.errors import UserError

IMAGE_COLUMNS = ("image", "img", "photo", "picture", "face")
LABEL_COLUMNS = ("label", "labels", "class", "target", "category")
# Spellings that leave no doubt, whatever else than letters is in between. A number says nothing,
# and "edited" or "human" may be said of either kind.
_THINGS = r"(image|photo|picture|face|frame|video)?s?"
REAL = re.compile(rf"(training)?(real|original|authentic|genuine){_THINGS}")
FAKE = re.compile(rf"(training)?(fake|deepfake|synthetic|artificial|(ai)?generated|ai){_THINGS}")
BATCH = 32  # photos in memory at once
SHOWN = 6  # labels or columns that an error names
REMEDY = "sort its photos into folders `real` and `fake` and give the folder that holds these"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoTable:
    """A Parquet file of photos.

    Attributes:
        path: the file.
        image: name of the column of images.
        label: name of the column of labels.
        labels: `"real"` or `"fake"` by the values of that column.
    """

    path: Path
    image: str
    label: str
    labels: Mapping[object, str]


def write_photos(files: Sequence[Path], folder: Path, title: str) -> dict[str, int]:
    """Write every photo of some Parquet files below `folder/real` and `folder/fake`.

    The bytes stay as they are, and so do the photos' names as far as they differ. Rows without a
    photo or without a label, as in the test splits of challenges, are left out.

    Args:
        files: the Parquet files; some may hold something else than photos.
        folder: an empty folder.
        title: what an error calls the dataset.

    Returns:
        The number of photos by label, `"real"` first.

    Raises:
        UserError: there is no column of images or of labels, a label says neither real nor fake, or
            there is no photo.
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
    """Return what the files with images and labels hold; at least one of `files` must be such.

    Args:
        files: Parquet files.
        title: what an error calls the dataset.

    Raises:
        UserError: none is, or a label says neither real nor fake.
        pyarrow.ArrowException, OSError: a file is damaged.
    """
    features = {path: _read_features(path) for path in files}
    tables = []
    for path, columns in features.items():
        if _image_columns(columns) and _label_columns(columns):
            tables.append(_describe(path, columns, title))
        else:
            log.info("Leaving out %s: it has no images with labels.", path.name)
    if not tables:
        missing = "labels" if any(map(_image_columns, features.values())) else "images"
        found = _listed(dict.fromkeys(name for columns in features.values() for name in columns))
        raise UserError(f"{title} has no column of {missing} among {found}: {REMEDY}.")
    return tables


def meaning(name: str) -> str | None:
    """Return `"real"` or `"fake"` for the name of a label, `None` where it is in doubt."""
    letters = re.sub(r"[^a-z]", "", name.lower())
    if REAL.fullmatch(letters):
        return "real"
    return "fake" if FAKE.fullmatch(letters) else None


def _read_features(path: Path) -> Features:
    schema = pq.read_schema(path)
    try:
        return Features.from_arrow_schema(schema)
    except ValueError:  # the file's notes name a kind of column that is newer than this library
        return Features.from_arrow_schema(schema.remove_metadata())


def _image_columns(features: Features) -> list[str]:
    """Return the column that is called an image, or else all that may hold images."""
    holders = [
        name
        for name, feature in features.items()
        if isinstance(feature, Image)
        or (isinstance(feature, dict) and "bytes" in feature)
        or (feature == Value("binary") and name.lower() in IMAGE_COLUMNS)
    ]
    called = [name for wanted in IMAGE_COLUMNS for name in holders if name.lower() == wanted]
    return called[:1] or holders


def _label_columns(features: Features) -> list[str]:
    """Return the columns that may hold labels, likely ones first."""
    likely = [
        name
        for wanted in LABEL_COLUMNS
        for name, feature in features.items()
        if name.lower() == wanted and isinstance(feature, ClassLabel | Value)
    ]
    others = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    return list(dict.fromkeys(likely + others))


def _describe(path: Path, features: Features, title: str) -> PhotoTable:
    images = _image_columns(features)
    if len(images) > 1:
        raise UserError(
            f"{title} has several columns of images ({_listed(images)}), none of which is called "
            f"`image`: {REMEDY}."
        )
    named = {column: _label_names(path, column, features) for column in _label_columns(features)}
    for column, names in named.items():
        labels = {value: meaning(name) for value, name in names.items()}
        if all(labels.values()):
            return PhotoTable(path, images[0], column, labels)
    column, names = next(iter(named.items()))
    raise UserError(
        f"{title} has the labels {_listed(names.values())} in its column `{column}`, which do not "
        f"all say real or fake: {REMEDY}."
    )


def _label_names(path: Path, column: str, features: Features) -> dict[object, str]:
    """Return what a column's values are called."""
    if isinstance(features[column], ClassLabel):
        return dict(enumerate(features[column].names))
    values = pq.read_table(path, columns=[column])[column].unique().to_pylist()
    return {value: str(value) for value in values if value is not None}


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:SHOWN]) + more


def _rows(tables: Sequence[PhotoTable]) -> Iterator[tuple[str | None, bytes | None, str]]:
    """Yield label, bytes and name of every photo; what a row lacks is `None` or empty."""
    total = sum(pq.read_metadata(table.path).num_rows for table in tables)
    with tqdm(total=total, desc="Unpacking", unit="photo") as bar:
        for table in tables:
            with pq.ParquetFile(table.path) as file:
                for batch in file.iter_batches(BATCH, columns=[table.image, table.label]):
                    images = batch.column(table.image).to_pylist()
                    values = batch.column(table.label).to_pylist()
                    for image, value in zip(images, values, strict=True):
                        yield table.labels.get(value), *_unpack(image)
                    bar.update(len(images))


def _unpack(image: dict | bytes | None) -> tuple[bytes | None, str]:
    if isinstance(image, dict):
        return image["bytes"], image.get("path") or ""
    return image, ""


class _FreeNames:
    """Names for the files of a folder that differ however many rows share one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.uses: Counter[str] = Counter()
        self.taken: set[str] = set()

    def next(self, name: str) -> Path:
        """Return a free path: the name, or one that begins like it."""
        stem = re.sub(r"[^\w.-]+", "_", PurePath(name).stem, flags=re.ASCII).lstrip(".")[:150]
        suffix = re.sub(r"[^\w.]+", "", PurePath(name).suffix, flags=re.ASCII)[:10]
        return self.folder / f"{self._free_stem(stem or 'photo')}{suffix or '.image'}"

    def _free_stem(self, stem: str) -> str:
        while True:
            self.uses[stem] += 1
            number = self.uses[stem]
            found = stem if number == 1 else f"{stem}-{number}"
            if found.lower() not in self.taken:  # on some disks `A` and `a` are one file
                self.taken.add(found.lower())
                return found
