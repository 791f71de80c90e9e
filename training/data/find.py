"""Find the photos to prepare: in a dataset of Kaggle or the Hugging Face Hub, or in a folder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data import kaggle
from training.data.rows import REPORT
from training.errors import UserError

FOLDER_PAIRS = {"training_real": "training_fake", "real": "fake"}

_REMOTE = re.compile(r"(?:kaggle|hf):[\w.-]+/([\w.-]+).*", re.ASCII)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourcePhoto:
    """A photo as it was found.

    Attributes:
        path: the file.
        label: `"real"` or `"fake"`, from the folder.
        source: the dataset's name, as the user gave it, or else the name of the folder that holds
            the real and the fake folder.
        named_parts: whether the folder follows the Kaggle names, which state the replaced parts of
            a fake.
        original: `ORIGINAL` of a frame named `ORIGINAL__VIDEO.jpg`, as crops of the Deepfake
            Detection Challenge are: the video that its own was made from. `""` for any other name.
            Photos with the same source and original show the same person in the same place and
            must stay in one split.
        place: path below the folder that holds its real or fake folder, such as `fake/1.jpg`. A
            file of splits names photos by it.
    """

    path: Path
    label: str
    source: str
    named_parts: bool
    original: str = ""
    place: str = ""


def find_source(source: str) -> list[SourcePhoto]:
    """Return the photos of a source, `NAME=WHERE` or `WHERE` (see `locate`).

    Raises:
        UserError: there are none, or they cannot be downloaded.
    """
    name, separator, where = source.partition("=")
    if not separator or not re.fullmatch(r"[\w.-]+", name):  # or a path that contains "="
        name, where = "", source
    return find_photos(locate(where), source=name or source_name(where))


def locate(where: str) -> Path:
    """Return the folder of a source, downloading it where needed.

    Downloads are cached; one with a version or commit in its name is found without network.

    Args:
        where: `"kaggle"` for the default dataset; `"kaggle:OWNER/NAME"` or
            `"kaggle:OWNER/NAME/versions/N"` for another one on Kaggle; `"hf:NAMESPACE/NAME"` or
            `"hf:NAMESPACE/NAME@REVISION"` for one on the Hugging Face Hub; or the path of a folder.

    Raises:
        UserError: there is no such folder or dataset, or it cannot be downloaded.
    """
    if where == "kaggle":
        return kaggle.fetch()
    kind, _, name = where.partition(":")
    if kind == "kaggle":
        return kaggle.fetch(name)
    if kind == "hf":
        # huggingface_hub takes a second to import and is needed for these sources alone.
        from training.data.hub import fetch

        return fetch(name)
    root = Path(where)
    if not root.is_dir():
        raise UserError(
            f"--source {where} is not a folder: give `kaggle`, `kaggle:OWNER/NAME`, "
            "`hf:NAMESPACE/NAME` or a folder of photos."
        )
    return root


def source_name(where: str) -> str | None:
    """Return the name of the dataset that `locate` would download.

    It is `None` for the default dataset and for folders: their subfolders have names of their own.
    """
    match = _REMOTE.fullmatch(where)
    return match[1] if match else None


def find_photos(root: Path, source: str | None = None) -> list[SourcePhoto]:
    """Return the photos of every pair of real and fake folders below `root`, in a fixed order.

    Where there is no pair, folders of one label count: another source can provide the other label.
    Folders that `prepare` wrote are skipped, as their photos are copies. A pair whose files have
    the names and sizes of an earlier pair is a second copy, as in the Kaggle archive, and ignored.

    Args:
        root: folder that holds `training_real` and `training_fake`, or `real` and `fake`, at any
            depth.
        source: the `source` of every photo, in place of the name of the folder that holds it.

    Raises:
        UserError: there is no such folder, or it has no files.
    """
    photos: list[SourcePhoto] = []
    seen: dict[frozenset, Path] = {}
    for holder, real, fake in folder_pairs(root, REPORT):
        names = {"real": real, "fake": fake}
        files = {label: _files(holder / name) if name else [] for label, name in names.items()}
        listing = _listing(holder, files)
        if listing in seen:
            log.info("Ignoring %s: it is a second copy of %s.", holder, seen[listing])
            continue
        seen[listing] = holder
        log.info("Found %d real and %d fake in %s.", len(files["real"]), len(files["fake"]), holder)
        name = source or holder.resolve().name
        named_parts = fake.lower() == "training_fake"
        photos += [
            SourcePhoto(
                path, label, name, named_parts, _original(path), path.relative_to(holder).as_posix()
            )
            for label, paths in files.items()
            for path in paths
        ]
    if not photos:
        raise UserError(
            f"No photos in {root}: it must hold folders `training_real` and `training_fake`, or "
            "`real` and `fake`, or one of them."
        )
    return photos


def _listing(holder: Path, files: Mapping[str, Sequence[Path]]) -> frozenset:
    """Return labels, names and sizes of the files, which identify a second copy."""
    return frozenset(
        (label, path.relative_to(holder).as_posix().split("/", 1)[1], path.stat().st_size)
        for label, paths in files.items()
        for path in paths
    )


def folder_pairs(root: Path, prepared: str) -> list[tuple[Path, str, str]]:
    """Return (folder, name of its real folder, name of its fake folder), outermost first.

    If no folder has both, those that have one are returned, with `""` for the other.

    Args:
        root: where to look, at any depth.
        prepared: name of a file; folders that hold it are skipped, with everything below them.
    """
    pairs, halves = [], []
    for folder, names, files in os.walk(root):
        holder = Path(folder)
        if prepared in files:
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith("."))
        by_lower_case = {name.lower(): name for name in names}
        for real, fake in FOLDER_PAIRS.items():
            pair = (holder, by_lower_case.get(real, ""), by_lower_case.get(fake, ""))
            if any(pair[1:]):
                (pairs if all(pair[1:]) else halves).append(pair)
    return sorted(pairs or halves, key=lambda pair: (len(pair[0].parts), pair))


def _original(path: Path) -> str:
    before, separator, _ = path.stem.partition("__")
    return before if separator else ""


def _files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    files = [path for path in paths if path.is_file() and not _is_hidden(path.relative_to(folder))]
    if len(files) < len(paths):
        log.info(
            "Left out of %s, as pipes, devices, dead links or hidden (a name that begins with a "
            "dot): %d.",
            folder,
            len(paths) - len(files),
        )
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
