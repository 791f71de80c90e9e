"""Find the photos to prepare: in the Kaggle dataset or in a folder.

Dataset: https://www.kaggle.com/datasets/ciplab/real-and-fake-face-detection
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from training.errors import UserError

# Pinned, so that everyone trains on the same photos; kagglehub answers a pinned version from its
# cache without network.
HANDLE = "ciplab/real-and-fake-face-detection/versions/1"
FOLDER_PAIRS = {"training_real": "training_fake", "real": "fake"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourcePhoto:
    """A photo as it was found.

    Attributes:
        path: the file.
        label: `"real"` or `"fake"`, from the folder.
        source: name of the folder that holds the real and the fake folder.
        named_parts: whether the folder follows the Kaggle names, which tell the replaced parts of a
            fake.
    """

    path: Path
    label: str
    source: str
    named_parts: bool


def locate(source: str) -> Path:
    """Return the folder of a source, downloading it where needed.

    Args:
        source: `"kaggle"`, or the path of a folder.

    Raises:
        UserError: the folder does not exist or Kaggle cannot be reached.
    """
    if source == "kaggle":
        return _download()
    root = Path(source)
    if not root.is_dir():
        raise UserError(f"--source {source} is not a folder: give `kaggle` or a folder of photos.")
    return root


def find_photos(root: Path, prepared: str = "prepare_report.json") -> list[SourcePhoto]:
    """List the photos of every pair of real and fake folders below `root`, in a fixed order.

    Folders that `prepare` wrote are left out: their photos are copies.

    A pair whose files have the names and sizes of an earlier pair is a second copy, as in the
    Kaggle archive, and ignored.

    Args:
        root: folder that holds `training_real` and `training_fake`, or `real` and `fake`, at any
            depth.
        prepared: name of the file by which folders that `prepare` wrote are known.

    Raises:
        UserError: there is no such pair, or one label has no files.
    """
    photos: list[SourcePhoto] = []
    seen: dict[frozenset, Path] = {}
    for holder, real, fake in _folder_pairs(root, prepared):
        files = {"real": _files(holder / real), "fake": _files(holder / fake)}
        listing = frozenset(
            (label, path.relative_to(holder).as_posix().split("/", 1)[1], path.stat().st_size)
            for label, paths in files.items()
            for path in paths
        )
        if listing in seen:
            log.info("Ignoring %s: it is a second copy of %s.", holder, seen[listing])
            continue
        seen[listing] = holder
        log.info("Found %d real and %d fake in %s.", len(files["real"]), len(files["fake"]), holder)
        source = holder.resolve().name
        photos += [
            SourcePhoto(path, label, source, named_parts=fake.lower() == "training_fake")
            for label, paths in files.items()
            for path in paths
        ]
    _check_labels(photos, root)
    return photos


def _download() -> Path:
    # kagglehub takes a second to import and is needed for this source alone.
    import kagglehub
    import requests
    from kagglehub.exceptions import KaggleApiHTTPError, UnauthenticatedError

    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except (KaggleApiHTTPError, UnauthenticatedError, requests.RequestException) as error:
        raise UserError(
            f"Kaggle did not give {HANDLE} ({type(error).__name__}): check the network and your "
            "credentials (make a token under https://www.kaggle.com/settings, then set "
            "KAGGLE_API_TOKEN or save it as ~/.kaggle/access_token), or use a copy that you have "
            "with --source PATH."
        ) from error


def _folder_pairs(root: Path, prepared: str) -> list[tuple[Path, str, str]]:
    """Return (folder, name of its real folder, name of its fake folder), outermost first."""
    pairs = []
    for folder, names, files in os.walk(root):
        holder = Path(folder)
        if prepared in files:
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith("."))
        by_lower_case = {name.lower(): name for name in names}
        for real, fake in FOLDER_PAIRS.items():
            if real in by_lower_case and fake in by_lower_case:
                pairs.append((holder, by_lower_case[real], by_lower_case[fake]))
    return sorted(pairs, key=lambda pair: (len(pair[0].parts), pair))


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )


def _check_labels(photos: list[SourcePhoto], root: Path) -> None:
    if not photos:
        raise UserError(
            f"No photos in {root}: it must hold folders `training_real` and `training_fake`, or "
            "`real` and `fake`."
        )
    missing = {"real", "fake"} - {photo.label for photo in photos}
    if missing:
        raise UserError(f"No {missing.pop()} photos in {root}: a detector needs both labels.")
