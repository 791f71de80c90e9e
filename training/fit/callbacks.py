"""Keras callbacks and the AUC metric of training."""

from __future__ import annotations

from pathlib import Path

import keras


class FakeAUC(keras.metrics.AUC):
    """ROC AUC of the probability of fake, from one-hot labels."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch of labels and probabilities, both `[batch, 2]`."""
        super().update_state(y_true[:, 1], y_pred[:, 1], sample_weight)


class CheckpointInner(keras.callbacks.ModelCheckpoint):
    """Saves the network without the augmentation around it, and never leaves half a file."""

    def __init__(self, model: keras.Model, path: Path, **kwargs) -> None:
        self._inner, self._final = model, path
        self._partial = path.with_name(f"partial-{path.name}")
        self._partial.unlink(missing_ok=True)  # half-written by a process that was killed
        super().__init__(str(self._partial), save_best_only=True, **kwargs)

    def set_model(self, model: keras.Model) -> None:
        """Take the inner network in place of the model that is trained."""
        super().set_model(self._inner)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save the network if it is the best so far."""
        super().on_epoch_end(epoch, logs)
        if self._partial.exists():
            self._partial.replace(self._final)


class Replay(keras.callbacks.Callback):
    """Replays the epochs before an interruption to other callbacks, so their patience continues."""

    def __init__(self, history: list[dict], callbacks: list[keras.callbacks.Callback]) -> None:
        super().__init__()
        self._history, self._callbacks = history, callbacks

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Replay the epochs, and keep the learning rate that was restored."""
        rate = float(self.model.optimizer.learning_rate)
        for epoch, figures in enumerate(self._history):
            for callback in self._callbacks:
                callback.on_epoch_end(epoch, dict(figures))
        self.model.optimizer.learning_rate = rate


class StepBackup(keras.callbacks.BackupAndRestore):
    """Backs up a run within its epochs too.

    `training_metadata.json` holds the current epoch, counted from 0, and under `batch` its last
    trained batch, 0 at the start of the epoch.

    Args:
        folder: where the backup is written.
        every: batches between two backups, more than one.
        first_step: batches of the first epoch that an earlier process trained on.
    """

    def __init__(self, folder: Path, every: int, first_step: int) -> None:
        super().__init__(folder, every, double_checkpoint=True, delete_checkpoint=False)
        self._first_step = first_step

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch, which Keras notes only when one ends."""
        self._current_epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Save when a backup is due.

        The last batch is left to `on_epoch_end`, after the validation: a killed run could not make
        up for a validation that it missed.
        """
        if batch + 1 < self.params["steps"]:
            super().on_train_batch_end(self._first_step + batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save."""
        super().on_epoch_end(epoch, logs)
        self._first_step = self._batches_seen_since_last_saving = 0
        self._save_model()
