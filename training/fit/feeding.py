"""Batches of pairs for Keras, drawn ahead of the network by threads or by processes."""

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

FEW_CORES = 4  # so many can be kept busy by threads, which cost no memory of their own
MOST_WORKERS = 16
WAITING = 8  # batches, at least, that are drawn ahead


class FedPairs(keras.utils.PyDataset):
    """`PairBatches` as Keras takes them.

    Args:
        batches: what is drawn.
        processes: that draw; without them the threads of Keras do.
        workers: threads, each of which may wait for a process.
        first_step: batches of the first epoch that an earlier process has trained on.

    Attributes:
        ready: by its index, when a batch was drawn last, in seconds of `time.monotonic`.
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
        """Draw others in the next epoch, all of them."""
        self._batches.epoch += 1
        self._first_step = 0


@contextmanager
def fed(
    batches: PairBatches, folder: Path, side: int, *, first_step: int = 0, workers: int = 0
) -> Iterator[FedPairs]:
    """Yield batches for Keras, whose photos are decoded once.

    Args:
        batches: what is drawn.
        folder: of the run, which holds the decoded photos meanwhile.
        side: longest side of the photos in px.
        first_step: batches of the first epoch that an earlier process has trained on.
        workers: how many draw; 0 stands for as many as there are cores, 16 at most.
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
