"""The progress that `train` shows."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import keras
from tqdm import tqdm


class Progress(keras.callbacks.Callback):
    """Shows a bar over all epochs, with photos seen, rate and ETA, and each epoch's figures.

    Args:
        epochs: largest number of epochs.
        steps: batches in an epoch.
        batch_size: photos in a batch.
        ready: when each batch of an epoch was drawn, see `training.fit.feeding.FedPairs`; adds to
            the figures the share of the time that training waited for batches.
    """

    def __init__(
        self, epochs: int, steps: int, batch_size: int, ready: Mapping[int, float] | None = None
    ) -> None:
        super().__init__()
        self._epochs, self._steps, self._batch_size = epochs, steps, batch_size
        self._ready = ready
        self._begun = self._idle_since = self._waited = 0.0
        self._bar: tqdm | None = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Open the bar where an earlier process stopped."""
        if self._bar is None:
            steps_done = self._steps - self.params["steps"]  # in this epoch
            self._bar = tqdm(
                total=self._epochs * self._steps * self._batch_size,
                initial=(epoch * self._steps + steps_done) * self._batch_size,
                unit=" photos",
                desc="Training",
                smoothing=0.02,  # a validation takes as long as many batches
            )
        self._begun = self._idle_since = time.monotonic()
        self._waited = 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count the photos and the idle time.

        That is the time from the end of the previous batch until this one was drawn.
        """
        if self._ready is not None:
            self._waited += max(0.0, self._ready[batch] - self._idle_since)
        self._idle_since = time.monotonic()
        self._bar.update(self._batch_size)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write the figures of the epoch."""
        figures = {"loss": "loss", "val_loss": "validation loss", "val_auc": "validation AUC"}
        shown = [f"{title} {logs[name]:.3f}" for name, title in figures.items() if name in logs]
        if self._ready is not None:
            share = self._waited / (self._idle_since - self._begun)
            shown.append(f"waited for photos {share:.1%} of the time")
        tqdm.write(f"Epoch {epoch + 1} of {self._epochs}: {', '.join(shown)}", file=sys.stderr)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
