"""Batches of pairs for Keras, drawn in advance by threads or processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from training.fit.decoded import FILE, DecodedPhotos
from training.fit.pairs import Batch, PairBatches
from training.fit.workers import Workers

FEW_CORES = 4  # threads keep up to this many busy, and need no memory of their own
MOST_WORKERS = 16
WAITING = 8  # batches, at least, that are drawn in advance


class FedPairs(keras.utils.PyDataset):
    """`PairBatches` as a dataset for Keras.

    Args:
        batches: the batches to draw.
        processes: processes that draw; without them, Keras' threads draw.
        workers: threads, each of which may wait for a process.
        first_step: batches of the first epoch that an earlier process trained on.

    Attributes:
        ready: when the batch of each index was last drawn, in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        batches: PairBatches,
        processes: Workers | None,
        workers: int,
        first_step: int = 0,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=max(WAITING, workers))
        self._batches, self._processes, self._first_step = batches, processes, first_step
        self.ready: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._batches) - self._first_step

    def __getitem__(self, index: int) -> Batch:
        step = self._first_step + index
        if self._processes is None:
            batch = self._batches[step]
        else:
            batch = self._processes.draw(self._batches.epoch, step)
        self.ready[index] = time.monotonic()
        return batch

    def on_epoch_end(self) -> None:
        """Go on to the next epoch, from its first batch."""
        self._batches.epoch += 1
        self._first_step = 0


@contextmanager
def fed(
    batches: PairBatches, folder: Path, side: int, *, first_step: int = 0, workers: int = 0
) -> Iterator[FedPairs]:
    """Yield batches for Keras whose photos are decoded once.

    Args:
        batches: the batches to draw.
        folder: of the run, which holds the decoded photos meanwhile.
        side: longest side of the photos in px.
        first_step: batches of the first epoch that an earlier process trained on.
        workers: threads or processes that draw; 0: one per core, 16 at most.
    """
    workers = workers or min(MOST_WORKERS, os.cpu_count() or 1)
    batches.decoded = DecodedPhotos(batches.paths, folder, side)
    processes = Workers(batches, workers) if workers > FEW_CORES else None
    try:
        yield FedPairs(batches, processes, workers, first_step)
    finally:
        if processes is not None:
            processes.close()
        batches.decoded = None
        (folder / FILE).unlink(missing_ok=True)
