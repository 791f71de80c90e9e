"""Processes that draw batches of pairs.

They do not import Keras, which would take seconds and half a gigabyte in each.
"""

from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor

from training.fit.pairs import Batch, PairBatches

_batches: PairBatches | None = None  # in a process that draws


class Workers:
    """Processes that draw from the same `PairBatches`."""

    def __init__(self, batches: PairBatches, number: int) -> None:
        # Spawn, not fork: a forked process may hang if TensorFlow runs threads.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(number, context, _receive, (batches,))

    def draw(self, epoch: int, step: int) -> Batch:
        """Return a batch of an epoch; several threads may call this at once."""
        return self._pool.submit(_draw, epoch, step).result()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


def _receive(batches: PairBatches) -> None:
    global _batches
    _batches = batches
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains


def _draw(epoch: int, step: int) -> Batch:
    _batches.epoch = epoch
    return _batches[step]
