"""Datasets of Kaggle, downloaded by kagglehub.

The default one: https://www.kaggle.com/datasets/ciplab/real-and-fake-face-detection
"""

from __future__ import annotations

import logging
import re
import tarfile
import zipfile
import zlib
from pathlib import Path

from training.errors import UserError

# Pinned, so that everyone trains on the same photos. kagglehub serves a pinned version from its
# cache without network.
HANDLE = "ciplab/real-and-fake-face-detection/versions/1"

_HANDLE = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(/versions/[1-9]\d*)?", re.ASCII)
_MAKE_TOKEN = (
    "make a token under https://www.kaggle.com/settings, then set KAGGLE_API_TOKEN or save it as "
    "~/.kaggle/access_token"
)
# What happened and what to do, by the status of Kaggle's answer or the kind of failure.
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


def fetch(handle: str = HANDLE) -> Path:
    """Return the folder of a dataset, downloading it where needed.

    Args:
        handle: `OWNER/NAME`, or `OWNER/NAME/versions/N` for a version that never changes.

    Raises:
        UserError: the handle names no dataset, or the dataset cannot be downloaded.
    """
    if not _HANDLE.fullmatch(handle):
        raise UserError(
            f"--source kaggle:{handle} names no dataset: give `kaggle:OWNER/NAME` or "
            "`kaggle:OWNER/NAME/versions/N` as in the address of its page."
        )
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
            cause = "another answer"  # the error is not about an archive
        elif cause == "another answer":
            detail = error.response.status_code
            cause = _meaning(detail, has_credentials)
        raise _failure(handle, cause, detail) from error


def _meaning(status: int, has_credentials: bool) -> int | str:
    if status in (401, 403) and not has_credentials:
        return "no credentials"
    return status if status in _FAILURES else "another answer"


def _causes() -> dict[type[Exception], str]:
    """Return the cause by class of error; the first match counts, as those of requests overlap."""
    import requests
    from kagglehub import exceptions as hub

    damage = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, hub.DataCorruptionError)
    notebook = (hub.BackendError, hub.CredentialError, hub.NotFoundError)
    environment = (hub.KaggleEnvironmentError, hub.ColabEnvironmentError)
    return {
        requests.HTTPError: "another answer",
        requests.exceptions.ChunkedEncodingError: "broken off",
        requests.RequestException: "no connection",
        ValueError: "damaged",  # what kagglehub raises for an unknown kind of archive
        **dict.fromkeys(damage, "damaged"),
        **dict.fromkeys(notebook + environment, "notebook"),
    }


def _has_credentials(handle: str) -> bool:
    from kagglehub.config import get_kaggle_credentials

    try:
        credentials = get_kaggle_credentials()
        values = [value for value in vars(credentials).values() if value] if credentials else []
        # A value that no header can hold would raise an error that quotes it.
        if not all(value.isascii() and value.isprintable() for value in values):
            raise ValueError
    except (ValueError, OSError):  # OSError: the token is too long for a path
        raise _failure(handle, "unusable credentials") from None
    return bool(values)


def _removed_archive(handle: str) -> bool:
    """Delete the archive; return whether there was one.

    kagglehub compares only sizes and would take it for a complete download from then on.
    """
    from kagglehub.cache import get_cached_archive_path
    from kagglehub.handle import parse_dataset_handle

    dataset = parse_dataset_handle(handle)
    folder = Path(get_cached_archive_path(dataset)).parent
    # If the handle has no version, only Kaggle knew which one it sent.
    archives = list(folder.glob(f"{dataset.version or '*'}.archive"))
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
