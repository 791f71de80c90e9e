"""Fetch a dataset of the Hugging Face Hub as folders of real and fake photos.

Photos that lie in such folders stay where `huggingface_hub` keeps them. Those in Parquet files are
written out once, below `$XDG_CACHE_HOME` or `~/.cache`.
"""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

import httpx2
from huggingface_hub import (
    HfApi,
    get_cached_repo_tree,
    get_token,
    snapshot_download,
)
from huggingface_hub import (
    logging as hub_logging,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects, validate_repo_id

from training.data.find import FOLDER_PAIRS, folder_pairs
from training.errors import UserError
from training.folders import replaced_folder

MARKER = "hub_dataset.json"  # written last: a folder that holds it is complete
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
TIMEOUT = 10.0  # seconds to wait for the Hub's first answer

_WHERE = re.compile(r"([\w.-]+/[\w.-]+)(?:@(\S+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PROBLEMS = (OSError, httpx2.HTTPError, RuntimeError, ValueError)  # raised by the client

log = logging.getLogger(__name__)


def fetch(where: str) -> Path:
    """Return a folder that holds a dataset's real and fake folder, downloading what is missing.

    Without network, or if the Hub refuses, an earlier complete copy is used.

    Args:
        where: `NAMESPACE/NAME`, or `NAMESPACE/NAME@REVISION` with a branch, tag or full commit.

    Raises:
        UserError: the dataset does not exist, the Hub refuses it, or it holds neither photos in
            folders `real` and `fake` (or `training_real` and `training_fake`) nor Parquet files
            with photos and such labels.
    """
    name, revision = _parse(where)
    if _is_written(_written(name, revision)):
        return _written(name, revision)
    snapshot = _snapshot(name, revision)
    if folder_pairs(snapshot, MARKER):
        return snapshot
    folder = _written(name, snapshot.name)
    if not _is_written(folder):
        _write(snapshot, folder, name)
    return folder


def _parse(where: str) -> tuple[str, str]:
    match = _WHERE.fullmatch(where)
    if not match or not _is_name(match[1]):
        raise UserError(
            f"--source hf:{where} names no dataset: give `hf:NAMESPACE/NAME` or "
            "`hf:NAMESPACE/NAME@REVISION` as in the address of its page."
        )
    return match[1], match[2] or "main"


def _is_name(text: str) -> bool:
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def _written(name: str, commit: str) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "deepfake-face-detector" / "hub-datasets" / name.replace("/", "--") / commit


def _is_written(folder: Path) -> bool:
    return bool(_COMMIT.fullmatch(folder.name)) and (folder / MARKER).is_file()


def _snapshot(name: str, revision: str) -> Path:
    """Return the `huggingface_hub` folder with all photos and Parquet files of a revision."""
    if _COMMIT.fullmatch(revision):  # a commit never changes
        complete = _cached(name, revision)
        if complete:
            return complete
    problem = None
    try:
        _download(name, revision)
    except _PROBLEMS as error:
        if isinstance(error, OSError) and error.errno:  # a disk error
            raise
        problem = error
    complete = _cached(name, revision)
    if complete is None:
        raise _failure(name, revision, problem) from problem
    if problem:
        log.info("The Hub does not give %s: taking the copy in %s.", name, complete)
    return complete


def _download(name: str, revision: str) -> None:
    token = get_token()
    if token and not (token.isascii() and token.isprintable()):
        raise UserError("The Hub token contains a character that tokens cannot have: set it again.")
    hub_logging.set_verbosity_error()  # its warnings contain signed URLs
    # Without network, this fails at once; the download would try for half a minute.
    HfApi().dataset_info(name, revision=revision, timeout=TIMEOUT)
    snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=_patterns())


def _cached(name: str, revision: str) -> Path | None:
    """Return the cached folder of a revision, `None` if a file is missing.

    Raises:
        UserError: the revision holds neither photos in such folders nor Parquet files.
    """
    try:
        # A download leaves this listing. Without it, `snapshot_download` trusts any folder.
        listing = get_cached_repo_tree(name, repo_type="dataset", revision=revision)
        paths = [file.path for file in listing]
        if not list(filter_repo_objects(paths, allow_patterns=_patterns())):
            raise _no_photos(name)
        folder = snapshot_download(
            name,
            repo_type="dataset",
            revision=revision,
            allow_patterns=_patterns(),
            local_files_only=True,
        )
    except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):
        return None
    return Path(folder)


def _patterns() -> list[str]:
    """Return glob patterns to download: photos in real and fake folders, and Parquet files."""
    photos = [
        f"{start}{_any_case(label)}/*{_any_case(suffix)}"
        for label in [*FOLDER_PAIRS, *FOLDER_PAIRS.values()]
        for suffix in SUFFIXES
        for start in ("", "*/")
    ]
    return [*photos, "*.parquet"]


def _any_case(text: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in text)


def _write(snapshot: Path, folder: Path, name: str) -> None:
    """Write the photos of a snapshot's Parquet files into a folder that appears when complete."""
    files = sorted(snapshot.rglob("*.parquet"))
    if not files:
        raise _no_photos(name)
    # `datasets` takes seconds to import, and folders of photos do not need it.
    import pyarrow

    from training.data.parquet import write_photos

    with replaced_folder(folder, MARKER) as staging:
        try:
            counts = write_photos(files, staging, f"hf:{name}")
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # of the disk, not the file
                raise
            raise UserError(
                f"A Parquet file of hf:{name} is damaged ({type(error).__name__}): remove "
                f"{snapshot.parents[1]} and run the same command again."
            ) from error
        report = {"dataset": name, "commit": snapshot.name, "photos": counts}
        (staging / MARKER).write_text(json.dumps(report, indent=2) + "\n")
    log.info("%s: %d real and %d fake photos of hf:%s.", folder, *counts.values(), name)


def _no_photos(name: str) -> UserError:
    return UserError(
        f"hf:{name} holds no folder with photos in `real` and `fake`, and no Parquet files: try "
        f"`hf:{name}@refs/convert/parquet`, where the Hub keeps most datasets as Parquet, or sort "
        "its photos into folders `real` and `fake` and give the folder that holds these."
    )


def _failure(name: str, revision: str, problem: Exception | None) -> UserError:
    """Return the error of a failed download, in one sentence.

    The client's own text is left out: it contains signed URLs.
    """
    causes = _causes(problem)
    found, advice = _network_failure(name, causes)
    answers = [cause for cause in causes if isinstance(cause, HfHubHTTPError)]
    if answers:
        found, advice = _refusal(name, revision, answers[0])
    return UserError(f"{found}: {advice}, or use a copy that you have with --source PATH.")


def _causes(problem: BaseException | None) -> list[BaseException]:
    """Return an error and its causes: the client's last one may only say that no copy exists."""
    causes = []
    while problem is not None:
        causes.append(problem)
        problem = problem.__cause__
    return causes


def _network_failure(name: str, causes: list[BaseException]) -> tuple[str, str]:
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        found = f"The dataset {name} is not completely in the cache, and HF_HUB_OFFLINE is set"
        return found, "unset it to download the rest"
    detail = type(causes[-1]).__name__ if causes else "no answer"
    found = f"The connection to the Hub failed ({detail}) before {name} was completely in the cache"
    retry = "run the same command again, files that arrived are not sent twice"
    return found, f"check the network and the proxy settings, then {retry}"


def _refusal(name: str, revision: str, error: HfHubHTTPError) -> tuple[str, str]:
    page = f"https://huggingface.co/datasets/{name}"
    login = "set HF_TOKEN or run `hf auth login`"
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        found = f"The dataset {name} is gated ({status})"
        return found, f"open {page}, agree to what the page asks, then {login}"
    if isinstance(error, RepositoryNotFoundError):
        found = f"The Hub has no dataset {name}, or does not show it to you ({status})"
        return found, f"look at {page}, and if it is private {login} of an account that sees it"
    if isinstance(error, RevisionNotFoundError):
        found = f"The dataset {name} has no revision {revision}"
        return found, f"give a branch, tag or full commit that {page} lists"
    if status == 401:
        found = f"Asked for the dataset {name}, the Hub does not accept the token that is set (401)"
        return found, "make one under https://huggingface.co/settings/tokens, or unset it"
    if status == 403:
        found = f"The Hub denies the dataset {name} to you (403)"
        return found, f"look at {page}, then {login} of an account that may read it"
    return f"Asked for the dataset {name}, the Hub answered with an error ({status})", "try later"
