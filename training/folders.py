"""Write a folder all at once, so that a killed run leaves no half of one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import UserError


@contextmanager
def replaced_folder(output: Path, marker: str) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `output` when the block ends without an error.

    Args:
        output: the folder's final name; what is there is replaced if it holds the marker.
        marker: name of a file that only the same verb writes.

    Raises:
        UserError: `output` holds something else.
    """
    check_replaceable(output, marker)
    staging = output.with_name(f".{output.name}.partial")
    replaced = output.with_name(f".{output.name}.replaced")
    for leftover in (staging, replaced):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if output.exists():
            output.rename(replaced)
        staging.rename(output)
    finally:
        for folder in (staging, replaced):
            shutil.rmtree(folder, ignore_errors=True)


def check_replaceable(output: Path, marker: str) -> None:
    """Raise `UserError` where `output` exists, is not empty, and does not hold the marker."""
    occupied = output.is_file() or (output.is_dir() and any(output.iterdir()))
    if occupied and not (output / marker).is_file():
        raise UserError(
            f"{output} was written by something else (it holds no {marker}): remove it or give "
            "another --output."
        )
