"""Write folders and files atomically, so that a killed run leaves none half-written; hash files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import UserError


@contextmanager
def replaced_folder(output: Path, marker: str) -> Iterator[Path]:
    """Yield an empty folder that replaces `output` when the block ends without an error.

    Args:
        output: the folder's final name; a folder there is replaced if it holds the marker. Of a
            link, the target is replaced.
        marker: name of a file that only the same verb writes.

    Raises:
        UserError: `output` holds something else.
    """
    check_replaceable(output, marker)
    output = output.resolve()
    staging = output.with_name(f".{output.name}.partial")
    replaced = output.with_name(f".{output.name}.replaced")
    _restore(output, replaced)  # if a run was killed between the two renames below
    for leftover in (staging, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if output.exists():
            output.rename(replaced)
        staging.rename(output)
    finally:
        _restore(output, replaced)
        for folder in (staging, replaced):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; its file replaces `path` when the block ends without an error.

    Args:
        path: the file's final name; its folder is created if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")  # savers choose the format by the suffix
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: object, *, indent: int = 2) -> None:
    """Write a value as a JSON file, atomically."""
    with replaced_file(path) as partial:
        partial.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_replaceable(output: Path, marker: str) -> None:
    """Raise `UserError` where `output` exists, is not empty, and does not hold the marker."""
    output = output.resolve()
    free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not output.name or not (free or (output / marker).is_file()):
        raise UserError(
            f"{output} was written by something else (it holds no {marker}): remove it or give "
            "another --output."
        )


def _restore(output: Path, replaced: Path) -> None:
    if replaced.is_dir() and not output.exists():
        replaced.rename(output)
