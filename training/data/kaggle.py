"""Find the photos to prepare: in a Kaggle dataset, a dataset of the Hugging Face Hub or a folder.

The default dataset: https://www.kaggle.com/datasets/ciplab/real-and-fake-face-detection
"""

from __future__ import annotations

import logging
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import UserError

# Pinned, so that everyone trains on the same photos; kagglehub answers a pinned version from its
# cache without network.
HANDLE = "ciplab/real-and-fake-face-detection/versions/1"
FOLDER_PAIRS = {"training_real": "training_fake", "real": "fake"}

_HANDLE = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(/versions/[1-9]\d*)?", re.ASCII)
_REMOTE = re.compile(r"(?:kaggle|hf):[\w.-]+/([\w.-]+).*", re.ASCII)
_MAKE_TOKEN = (
    "make a token under https://www.kaggle.com/settings, then set KAGGLE_API_TOKEN or save it as "
    "~/.kaggle/access_token"
)
# What was found and what to do, by the status of Kaggle's answer or the kind of failure.
_FAILURES: dict[int | str, tuple[str, str]] = {
    "no credentials": ("Kaggle wants credentials for {handle}, and none are set", _MAKE_TOKEN),
    "unusable credentials": (
        "The credentials that are set for Kaggle cannot be read, or hold a line break or another "
        "character that no token has",
        _MAKE_TOKEN,
    ),
    401: (
        "Asked for {handle}, Kaggle does not accept the credentials that are set (401)",
        _MAKE_TOKEN,
    ),
    403: (
        "Kaggle denies {handle} to the account whose credentials are set (403)",
        "open {page} with it, agree to what the page asks and try its download button",
    ),
    404: ("Kaggle has no {handle} (404)", "look at {page} for what became of it"),
    "another answer": (
        "Asked for {handle}, Kaggle answered with an error ({detail})",
        "try again later",
    ),
    "no connection": (
        "The connection to Kaggle, to ask for {handle}, failed ({detail})",
        "check the network and the proxy settings, then run the same command again",
    ),
    "broken off": (
        "The download of {handle} broke off",
        "run the same command again to go on with it",
    ),
    "damaged": (
        "The archive of {handle} arrived damaged and was deleted",
        "run the same command again to download it anew",
    ),
    "notebook": (
        "The notebook could not attach {handle} ({detail})",
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
        return _download(HANDLE)
    kind, _, name = where.partition(":")
    if kind == "kaggle":
        return _download(_check_handle(name))
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


def find_photos(
    root: Path, prepared: str = "prepare_report.json", source: str | None = None
) -> list[SourcePhoto]:
    """List the photos of every pair of real and fake folders below `root`, in a fixed order. Where
    there is no pair, a folder of one label counts: a detector can take the other one from another
    source.

    Folders that `prepare` wrote are left out: their photos are copies.

    A pair whose files have the names and sizes of an earlier pair is a second copy, as in the
    Kaggle archive, and ignored.

    Args:
        root: folder that holds `training_real` and `training_fake`, or `real` and `fake`, at any
            depth.
        prepared: name of the file by which folders that `prepare` wrote are known.
        source: the `source` of every photo, in place of the name of the folder that holds it.

    Raises:
        UserError: there is no such folder, or it has no files.
    """
    photos: list[SourcePhoto] = []
    seen: dict[frozenset, Path] = {}
    for holder, real, fake in folder_pairs(root, prepared):
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


def _check_handle(name: str) -> str:
    if not _HANDLE.fullmatch(name):
        raise UserError(
            f"--source kaggle:{name} names no dataset: give `kaggle:OWNER/NAME` or "
            "`kaggle:OWNER/NAME/versions/N` as in the address of its page."
        )
    return name


def _download(handle: str) -> Path:
    # kagglehub takes a second to import and is needed for these sources alone.
    import kagglehub

    has_credentials = _has_credentials(handle)
    causes = _causes()
    try:
        return Path(kagglehub.dataset_download(handle))
    except tuple(causes) as error:
        cause = next(cause for kind, cause in causes.items() if isinstance(error, kind))
        detail = type(error).__name__
        if cause == "damaged" and not _removed_archive(handle) and type(error) is ValueError:
            cause = "another answer"  # about something else than an archive
        elif cause == "another answer":
            detail = error.response.status_code
            cause = _meaning(detail, has_credentials)
        raise _failure(handle, cause, detail) from error


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


def _has_credentials(handle: str) -> bool:
    from kagglehub.config import get_kaggle_credentials

    try:
        credentials = get_kaggle_credentials()
        values = [value for value in vars(credentials).values() if value] if credentials else []
        # What no header can hold would end in an error that quotes it.
        if not all(value.isascii() and value.isprintable() for value in values):
            raise ValueError
    except (ValueError, OSError):  # the latter for a token that is too long for a path
        raise _failure(handle, "unusable credentials") from None
    return bool(values)


def _removed_archive(handle: str) -> bool:
    """Delete the archive, if there is one: kagglehub compares sizes alone and would take it for a
    complete download ever after."""
    from kagglehub.cache import get_cached_archive_path
    from kagglehub.handle import parse_dataset_handle

    asked = parse_dataset_handle(handle)
    folder = Path(get_cached_archive_path(asked)).parent
    # Without a version in the handle, only Kaggle knew which one it was.
    archives = list(folder.glob(f"{asked.version or '*'}.archive"))
    for archive in archives:
        archive.unlink()
    return bool(archives)


def _failure(handle: str, cause: int | str, detail: object = None) -> UserError:
    dataset = _HANDLE.fullmatch(handle)[1]
    values = {
        "handle": handle,
        "page": f"https://www.kaggle.com/datasets/{dataset}",
        "detail": detail,
    }
    found, advice = (part.format(**values) for part in _FAILURES[cause])
    return UserError(f"{found}: {advice}, or use a copy that you have with --source PATH.")


def _original(path: Path) -> str:
    before, separator, _ = path.stem.partition("__")
    return before if separator else ""


def _files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    files = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    if len(files) < len(paths):
        log.info(
            "Left out of %s: %d pipes, devices, dead links and files whose names begin with a dot.",
            folder,
            len(paths) - len(files),
        )
    return files
