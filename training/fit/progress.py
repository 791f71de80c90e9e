"""What `train` shows while it trains."""

from __future__ import annotations

import sys

import keras
from tqdm import tqdm


class Progress(keras.callbacks.Callback):
    """Shows a bar over all epochs with the photos seen, their rate and the time that is left, and
    after each epoch a line with its figures.

    Args:
        epochs: that are trained at most.
        steps: batches of an epoch.
        batch_size: photos in a batch.
    """

    def __init__(self, epochs: int, steps: int, batch_size: int) -> None:
        super().__init__()
        self._epochs, self._steps, self._batch_size = epochs, steps, batch_size
        self._bar: tqdm | None = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Open the bar where an earlier process stopped."""
        if self._bar is None:
            begun = self._steps - self.params["steps"]  # batches of this epoch
            self._bar = tqdm(
                total=self._epochs * self._steps * self._batch_size,
                initial=(epoch * self._steps + begun) * self._batch_size,
                unit=" photos",
                desc="Training",
                smoothing=0.02,  # a validation takes as long as many batches
            )

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count the photos."""
        self._bar.update(self._batch_size)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Tell how good the network is."""
        figures = {"loss": "loss", "val_loss": "validation loss", "val_auc": "validation AUC"}
        told = [f"{text} {logs[name]:.3f}" for name, text in figures.items() if name in logs]
        tqdm.write(f"Epoch {epoch + 1} of {self._epochs}: {', '.join(told)}", file=sys.stderr)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
