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
        source: the dataset's name: the one that was given to it, or else that of the folder that
            holds the real and the fake folder.
        named_parts: whether the folder follows the Kaggle names, which tell the replaced parts of a
            fake.
        original: of a frame that is named `ORIGINAL__VIDEO.jpg`, as crops of the Deepfake Detection
            Challenge are, the video that its own was made from; `""` for every other name. Photos
            of one source and original show the same person in the same place, so that they must
            not fall into two splits.
        place: path below the folder that holds its real or fake folder, as `fake/1.jpg`; by it a
            file of splits names a photo.
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
    name, parted, where = source.partition("=")
    if not parted or not re.fullmatch(r"[\w.-]+", name):  # or a path that holds "=" itself
        name, where = "", source
    return find_photos(locate(where), source=name or source_name(where))


def locate(where: str) -> Path:
    """Return the folder of a source, downloading it where needed.

    A download is kept, and found again without network if its version or commit is named.

    Args:
        where: `"kaggle"` for the default dataset; `"kaggle:OWNER/NAME"` or
            `"kaggle:OWNER/NAME/versions/N"` for another one of Kaggle; `"hf:NAMESPACE/NAME"` or
            `"hf:NAMESPACE/NAME@REVISION"` for one of the Hugging Face Hub; or the path of a folder.

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
    """Return the name of the dataset that `locate` would download, `None` for the default dataset
    and for folders: the folders in these have names of their own."""
    match = _REMOTE.fullmatch(where)
    return match[1] if match else None


def find_photos(root: Path, source: str | None = None) -> list[SourcePhoto]:
    """List the photos of every pair of real and fake folders below `root`, in a fixed order. Where
    there is no pair, a folder of one label counts: a detector can take the other one from another
    source.

    Folders that `prepare` wrote are left out: their photos are copies.

    A pair whose files have the names and sizes of an earlier pair is a second copy, as in the
    Kaggle archive, and ignored.

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
    """Return labels, names and sizes, by which a second copy is known."""
    return frozenset(
        (label, path.relative_to(holder).as_posix().split("/", 1)[1], path.stat().st_size)
        for label, paths in files.items()
        for path in paths
    )


def folder_pairs(root: Path, prepared: str) -> list[tuple[Path, str, str]]:
    """Return (folder, name of its real folder, name of its fake folder), outermost first; where no
    folder has both, those that have one, with `""` for the other.

    Args:
        root: where to look, at any depth.
        prepared: name of a file; folders that hold it are left out, with all that is in them.
    """
    pairs, halves = [], []
    for folder, names, files in os.walk(root):
        holder = Path(folder)
        if prepared in files:
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith("."))
        by_lower_case = {name.lower(): name for name in names}
        for real, fake in FOLDER_PAIRS.items():
            found = (holder, by_lower_case.get(real, ""), by_lower_case.get(fake, ""))
            if any(found[1:]):
                (pairs if all(found[1:]) else halves).append(found)
    return sorted(pairs or halves, key=lambda pair: (len(pair[0].parts), pair))


def _original(path: Path) -> str:
    before, separator, _ = path.stem.partition("__")
    return before if separator else ""


def _files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    files = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    if len(files) < len(paths):
        log.info(
            "Left out of %s, as pipes, devices, dead links or files whose names begin with a dot: "
            "%d.",
            folder,
            len(paths) - len(files),
        )
    return files
