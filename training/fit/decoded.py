"""Photos decoded once, into a file that the processes that draw batches share."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from space.photos import open_photo

FILE = "decoded.u8"  # in a run's folder while it trains
CHANNELS = 3

log = logging.getLogger(__name__)


class DecodedPhotos:
    """Pixels of photos by position: read-only `uint8` `[height, width, 3]`, RGB.

    A photo is decoded on first access, and kept in the file if it fits into its slot. Processes
    need no lock: all write the same bytes into a slot, and its shape after its pixels.
    """

    def __init__(self, paths: Sequence[Path], folder: Path, side: int) -> None:
        """Open or create the file; without room for it, every access decodes its photo.

        Args:
            paths: of the photos.
            folder: for the file.
            side: longest side of the photos in px.
        """
        self._paths, self._folder = list(paths), folder
        self._slots = len(self._paths), CHANNELS * side * side
        self._shapes = self._pixels = None
        if self._make_file():
            self._open()

    def __getitem__(self, index: int) -> np.ndarray:
        shape = int(self._shapes[index]) if self._shapes is not None else 0
        if not shape:
            return self._decode(index)
        height, width = divmod(shape, 1 << 16)
        pixels = self._pixels[index, : height * width * CHANNELS].reshape(height, width, CHANNELS)
        return _read_only(pixels.view(np.ndarray))

    def __getstate__(self) -> dict:
        # Pickling a memory map would copy its contents, so each process opens its own.
        return self.__dict__ | {
            "_shapes": None,
            "_pixels": None,
            "_is_open": self._pixels is not None,
        }

    def __setstate__(self, state: dict) -> None:
        is_open = state.pop("_is_open")
        self.__dict__.update(state)
        if is_open:
            self._open()

    def _decode(self, index: int) -> np.ndarray:
        pixels = np.asarray(open_photo(self._paths[index]))
        height, width = pixels.shape[:2]
        if self._pixels is not None and pixels.size <= self._pixels.shape[1]:
            self._pixels[index, : pixels.size] = pixels.ravel()
            self._shapes[index] = (height << 16) + width
        return _read_only(pixels)

    def _make_file(self) -> bool:
        """Create the file unless it exists; return whether it exists now."""
        photos, slot = self._slots
        size = photos * (slot + np.dtype(np.uint32).itemsize)
        path = self._folder / FILE
        if path.is_file() and path.stat().st_size == size:
            return True
        try:
            path.unlink(missing_ok=True)
            with path.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)  # a full disk fails here, not later
                file.truncate(size)
        except OSError as error:
            path.unlink(missing_ok=True)
            log.warning(
                "No room for %.1f GB of decoded photos in %s (%s): photos are decoded again in "
                "every epoch, which is slower.",
                size / 1e9,
                self._folder,
                error.strerror,
            )
            return False
        return True

    def _open(self) -> None:
        photos, slot = self._slots
        whole = np.memmap(self._folder / FILE, np.uint8, "r+")
        self._pixels = whole[: photos * slot].reshape(photos, slot)
        self._shapes = whole[photos * slot :].view(np.uint32)


def _read_only(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.view()
    pixels.flags.writeable = False  # all callers share the array
    return pixels
