"""Find the photos to prepare: in the Kaggle dataset or in a folder.

Dataset: https://www.kaggle.com/datasets/ciplab/real-and-fake-face-detection
"""

from __future__ import annotations

import logging
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from training.errors import UserError

# Pinned, so that everyone trains on the same photos; kagglehub answers a pinned version from its
# cache without network.
HANDLE = "ciplab/real-and-fake-face-detection/versions/1"
FOLDER_PAIRS = {"training_real": "training_fake", "real": "fake"}

_PAGE = "https://www.kaggle.com/datasets/ciplab/real-and-fake-face-detection"
_MAKE_TOKEN = (
    "make a token under https://www.kaggle.com/settings, then set KAGGLE_API_TOKEN or save it as "
    "~/.kaggle/access_token"
)
# What was found and what to do, by the status of Kaggle's answer or the kind of failure.
_FAILURES: dict[int | str, tuple[str, str]] = {
    "no credentials": (f"Kaggle wants credentials for {HANDLE}, and none are set", _MAKE_TOKEN),
    "unusable credentials": (
        "The credentials that are set for Kaggle cannot be read, or hold a line break or another "
        "character that no token has",
        _MAKE_TOKEN,
    ),
    401: ("Kaggle does not accept the credentials that are set (401)", _MAKE_TOKEN),
    403: (
        f"Kaggle denies {HANDLE} to the account whose credentials are set (403)",
        f"open {_PAGE} with it, agree to what the page asks and try its download button",
    ),
    404: (f"Kaggle has no {HANDLE} (404)", f"look at {_PAGE} for what became of it"),
    "another answer": ("Kaggle answered with an error ({})", "try again later"),
    "no connection": (
        "The connection to Kaggle failed ({})",
        "check the network and the proxy settings, then run the same command again",
    ),
    "broken off": (
        f"The download of {HANDLE} broke off",
        "run the same command again to go on with it",
    ),
    "damaged": (
        f"The archive of {HANDLE} arrived damaged and was deleted",
        "run the same command again to download it anew",
    ),
    "notebook": (
        f"The notebook could not attach {HANDLE} ({{}})",
        "set DISABLE_KAGGLE_CACHE=1 and DISABLE_COLAB_CACHE=1 to download it",
    ),
}

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
        UserError: the folder does not exist, or Kaggle does not give the photos.
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

    has_credentials = _has_credentials()
    causes = _causes()
    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except tuple(causes) as error:
        cause = next(cause for kind, cause in causes.items() if isinstance(error, kind))
        detail = type(error).__name__
        if cause == "damaged" and not _removed_archive() and type(error) is ValueError:
            cause = "another answer"  # about something else than an archive
        elif cause == "another answer":
            detail = error.response.status_code
            cause = _meaning(detail, has_credentials)
        raise _failure(cause, detail) from error


def _meaning(status: int, has_credentials: bool) -> int | str:
    if status in (401, 403) and not has_credentials:
        return "no credentials"
    return status if status in _FAILURES else "another answer"


def _causes() -> dict[type[Exception], str]:
    """What kagglehub raises; the first class that fits counts, as requests' have many bases."""
    import requests
    from kagglehub import exceptions as hub

    damage = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, hub.DataCorruptionError)
    notebook = (hub.BackendError, hub.CredentialError, hub.NotFoundError)
    environment = (hub.KaggleEnvironmentError, hub.ColabEnvironmentError)
    return {
        requests.HTTPError: "another answer",
        requests.exceptions.ChunkedEncodingError: "broken off",
        requests.RequestException: "no connection",
        ValueError: "damaged",  # kagglehub's word for an archive of no kind that it knows
        **dict.fromkeys(damage, "damaged"),
        **dict.fromkeys(notebook + environment, "notebook"),
    }


def _has_credentials() -> bool:
    from kagglehub.config import get_kaggle_credentials

    try:
        credentials = get_kaggle_credentials()
        values = [value for value in vars(credentials).values() if value] if credentials else []
        # What no header can hold would end in an error that quotes it.
        if not all(value.isascii() and value.isprintable() for value in values):
            raise ValueError
    except (ValueError, OSError):  # the latter for a token that is too long for a path
        raise _failure("unusable credentials") from None
    return bool(values)


def _removed_archive() -> bool:
    """Delete the archive, if there is one: kagglehub compares sizes alone and would take it for a
    complete download ever after."""
    from kagglehub.cache import get_cached_archive_path
    from kagglehub.handle import parse_dataset_handle

    archive = Path(get_cached_archive_path(parse_dataset_handle(HANDLE)))
    there = archive.is_file()
    archive.unlink(missing_ok=True)
    return there


def _failure(cause: int | str, detail: object = None) -> UserError:
    found, advice = _FAILURES[cause]
    return UserError(
        f"{found.format(detail)}: {advice}, or use a copy that you have with --source PATH."
    )


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
