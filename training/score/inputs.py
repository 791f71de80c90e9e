"""List the photos of a collection one by one, however many there are."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import fsspec
import httpx2

from space.photos import ENDINGS
from training.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

DEFAULT_SPLIT = "train"
PROBLEMS = (OSError, httpx2.HTTPError, RuntimeError, ValueError)  # raised by `datasets` and the Hub
CHUNK_PHOTOS = 32
CHUNK_BYTES = 2**25  # of files that come from a dataset as bytes


class Photo(NamedTuple):
    """A photo to score.

    Attributes:
        name: the column `file` of its rows.
        source: a path, an address that fsspec opens (`s3://...`), the bytes of a file, or `None`
            where a dataset's row holds no photo.
    """

    name: str
    source: str | bytes | None


@dataclass(frozen=True)
class Chunk:
    """Consecutive photos that a process takes at once.

    Attributes:
        number: position of the chunk, from 0.
        photos: at least one.
    """

    number: int
    photos: list[Photo]


@dataclass(frozen=True)
class Collection:
    """Photos that can be iterated over several times, always in the same order.

    Attributes:
        photos: returns an iterator that starts at the first photo.
        total: number of photos; `None` if only iterating would tell.
        in_files: whether each photo has a path or an address, and not just bytes.
    """

    photos: Callable[[], Iterator[Photo]]
    total: int | None
    in_files: bool = True


def find_collection(where: str, split: str | None = None) -> Collection:
    """Return the photos that an input stands for.

    Args:
        where: a folder, local or on a file system that fsspec opens (`hf://...`, `s3://...`), whose
            photos are found by their extensions, except hidden ones; a glob; one photo; a `.txt`
            file with a path or an address per line, where repeated lines are separate photos; or a
            dataset: a folder that `save_to_disk` wrote, or what `datasets.load_dataset` streams.
        split: split of a dataset. If it is given, a folder is read as a dataset.

    Raises:
        UserError: `where` is none of these, or holds no photo.
    """
    collection = _find(where, split)
    if next(collection.photos(), None) is None:
        raise UserError(f"{where} holds no photos: give a folder, glob, list or dataset that does.")
    return collection


def chunked(photos: Iterable[Photo]) -> Iterator[Chunk]:
    """Yield photos in chunks, whose boundaries depend only on the photos."""
    number, chunk, size = 0, [], 0
    for photo in photos:
        chunk.append(photo)
        size += len(photo.source) if isinstance(photo.source, bytes) else 0
        if len(chunk) == CHUNK_PHOTOS or size >= CHUNK_BYTES:
            yield Chunk(number, chunk)
            number, chunk, size = number + 1, [], 0
    if chunk:
        yield Chunk(number, chunk)


def _find(where: str, split: str | None) -> Collection:
    is_list = where.endswith(".txt")
    is_glob = not os.path.exists(where) and any(character in where for character in "*?[")
    if split is not None and ("://" in where or is_list or os.path.isfile(where) or is_glob):
        raise UserError(f"{where} is not a dataset and has no splits: leave out --split {split}.")
    if "://" in where:
        return _files(_remote_photos(where))
    if is_list:
        if not os.path.isfile(where):
            raise UserError(f"{where} is not a file: give a text file with one path per line.")
        return _files(lambda: _listed(where))
    if os.path.isfile(where):
        if _is_photo(where):
            return _files(lambda: iter([where]))
        raise UserError(f"{where} is neither a photo nor a list: the name of a list ends in .txt.")
    if os.path.isdir(where) and split is None and next(_photos_below(os.walk(where)), None):
        return _files(lambda: _photos_below(os.walk(where)))
    if is_glob:
        # Sorted, and so in memory, unlike all others: a glob has no order that one can rely on.
        names = sorted(name for name in glob.iglob(where, recursive=True) if os.path.isfile(name))
        return _files(lambda: iter(names))
    return _dataset(where, split or DEFAULT_SPLIT)


def _files(names: Callable[[], Iterable[str]]) -> Collection:
    """Return a collection of files; their paths or addresses are also their names."""
    return Collection(lambda: (Photo(name, name) for name in names()), sum(1 for _ in names()))


def _is_photo(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in ENDINGS


def _photos_below(walk: Iterable[tuple[str, list[str], list[str]]]) -> Iterator[str]:
    """Yield the photos of an `os.walk`, with one folder in memory at a time."""
    for folder, folders, files in walk:
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if _is_photo(name) and not name.startswith("."):
                yield os.path.join(folder, name)


def _remote_photos(where: str) -> Callable[[], Iterator[str]]:
    try:
        files, root = fsspec.url_to_fs(where)
        is_folder = files.isdir(root)
    except ImportError as error:
        raise UserError(f"{where} needs a package that is not here: {error}.") from error
    except Exception as error:  # every file system raises its own
        raise UserError(f"{where} cannot be opened ({error!r}): check the address.") from error
    if not is_folder:
        raise UserError(f"{where} is not a folder: check the address and your access to it.")
    return lambda: map(files.unstrip_protocol, _photos_below(files.walk(root)))


def _listed(path: str) -> Iterator[str]:
    # Names that are not UTF-8 come back as they are on the disk.
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in file:
            if name := line.rstrip("\r\n"):
                yield name


def _dataset(where: str, split: str) -> Collection:
    from datasets import Image as ImageFeature

    dataset = _load(where, split)
    column = _image_column(where, dataset)
    # The detector decodes, so that every photo is treated alike and a damaged one stops nothing.
    dataset = dataset.select_columns([column]).cast_column(column, ImageFeature(decode=False))

    def photos() -> Iterator[Photo]:
        try:
            for number, row in enumerate(dataset):
                image = row[column] or {"path": None, "bytes": None}
                name = image["path"] or f"{split}[{number}]"
                yield Photo(name, image["bytes"] or image["path"])
        except PROBLEMS as error:
            raise UserError(
                f"{where} could not be read to its end ({type(error).__name__}): check the network "
                "and the disk, then go on with --resume."
            ) from error

    return Collection(photos, _size(dataset, split), in_files=False)


def _load(where: str, split: str) -> Dataset | IterableDataset:
    from datasets import DatasetDict, load_dataset, load_from_disk

    try:
        if not any((Path(where) / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return load_dataset(where, split=split, streaming=True)
        saved = load_from_disk(where)
        return saved[split] if isinstance(saved, DatasetDict) else saved
    except (*PROBLEMS, KeyError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{where} is not a folder with photos, a glob or a list, and its split {split} cannot "
            f"be streamed as a dataset ({lines[0].rstrip('.')}): check the name or give --split."
        ) from error


def _image_column(where: str, dataset: Dataset | IterableDataset) -> str:
    from datasets import Image as ImageFeature

    features = dataset.features or {}
    columns = [
        name
        for name, feature in features.items()
        if isinstance(feature, ImageFeature) or (isinstance(feature, dict) and "bytes" in feature)
    ]
    if "image" in columns:
        return "image"
    if len(columns) != 1:
        raise UserError(
            f"The dataset {where} has {len(columns)} columns of images among "
            f"{', '.join(features) or 'none that are known'}: give one with a column `image`."
        )
    return columns[0]


def _size(dataset: Dataset | IterableDataset, split: str) -> int | None:
    if hasattr(dataset, "__len__"):
        return len(dataset)
    splits = dataset.info.splits or {}
    return splits[split].num_examples if split in splits else None
