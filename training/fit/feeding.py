"""Batches of pairs for Keras, drawn ahead of the network by threads or by processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from training.fit.decoded import FILE, DecodedPhotos
from training.fit.pairs import PairBatches

FEW_CORES = 4  # so many can be kept busy by threads, which cost no memory of their own
MOST_WORKERS = 16
WAITING = 8  # batches, at least, that are drawn ahead

Batch = tuple[np.ndarray, dict[str, np.ndarray]]

_batches: PairBatches | None = None  # in a worker process


class FedPairs(keras.utils.PyDataset):
    """`PairBatches` as Keras takes them.

    Args:
        batches: what is drawn.
        pool: processes that draw; without one the threads of Keras do.
        workers: threads, or processes that they wait for.
        first_step: batches of the first epoch that an earlier process has trained on.
    """

    def __init__(
        self,
        batches: PairBatches,
        pool: ProcessPoolExecutor | None,
        workers: int,
        first_step: int = 0,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=max(WAITING, workers))
        self._batches, self._pool, self._first_step = batches, pool, first_step

    def __len__(self) -> int:
        return len(self._batches) - self._first_step

    def __getitem__(self, index: int) -> Batch:
        step = self._first_step + index
        if self._pool is None:
            return self._batches[step]
        return self._pool.submit(_draw, self._batches.epoch, step).result()

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
    pool = None
    if workers > FEW_CORES:
        # Not forked: a copy of a process whose TensorFlow runs threads may hang.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, _receive, (batches,))
    try:
        yield FedPairs(batches, pool, workers, first_step)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        batches.decoded = None
        (folder / FILE).unlink(missing_ok=True)


def _receive(batches: PairBatches) -> None:
    global _batches
    _batches = batches


def _draw(epoch: int, step: int) -> Batch:
    _batches.epoch = epoch
    return _batches[step]
