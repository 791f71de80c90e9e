"""Training on pairs: losses, learning rate, and validation after every epoch.

The learning rate rises from 0 and falls back to 0 along a cosine. Only the end of a run shows its
worth, as most of the gain comes late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import keras
import numpy as np

from training.config import BEST, LAST, TrainConfig, read_config
from training.data.rows import Photo, read_report, read_source_pairs
from training.fit.feeding import fed
from training.fit.network import EVIDENCE, JIT_COMPILE
from training.fit.pairs import PairBatches, pair_batches
from training.fit.photos import PhotoBatches
from training.fit.progress import Progress
from training.fit.variation import UNKNOWN, Variation
from training.folders import replaced_file
from training.measure.metrics import mean_auc, paired_ranking, source_aucs

WARM_UP = 0.05  # share of the steps in which the learning rate rises from 0
WEIGHT_DECAY = 0.02
CLIP_NORM = 2.0  # of all gradients together


def evidence_loss(masks, evidence):
    """Return the cross-entropy between evidence (log-odds) and masks.

    If a photo has both, its changed places together count as much as its untouched ones, so that
    the rest of the photo does not outweigh a changed eye. Unknown places do not count.

    Args:
        masks: `[batch, rows, columns, 1]`, share of each place that was changed, or `UNKNOWN`.
        evidence: log-odds of the same shape.

    Returns:
        The loss of each photo, `[batch]`.
    """
    ops = keras.ops
    known = ops.cast(masks > UNKNOWN / 2, evidence.dtype)
    changed = known * masks
    untouched = known - changed
    entropy = ops.softplus(evidence) - changed * evidence
    axes = (1, 2, 3)

    def mean(weights):
        return ops.sum(weights * entropy, axes) / (ops.sum(weights, axes) + 1e-6)

    def has(weights):
        return ops.cast(ops.sum(weights, axes) > 0, evidence.dtype)

    kinds = (changed, untouched)
    total = sum(has(weights) * mean(weights) for weights in kinds)
    return total / ops.maximum(sum(has(weights) for weights in kinds), 1)


class Validation(keras.callbacks.Callback):
    """Measures every source after each epoch, keeps the network, and stops training.

    The best network is kept, and the last. Training stops after `stop_patience` epochs without
    improvement. Adds to the epoch's figures `val_auc` (`training.measure.metrics.mean_auc`), that
    of each source, `val_paired_ranking`, `val_loss` and `val_accuracy`. If the optimizer averages
    the weights, the averages are measured and kept.

    Args:
        model: the network to keep, without the training model around it.
        photos: of the validation split.
        pairs: positions of fakes and their originals.
        config: of the run.
        folder: where both are kept, as `BEST` and `LAST`.
        history: `val_auc` of the epochs that an earlier process trained.
    """

    def __init__(
        self,
        model: keras.Model,
        photos: Sequence[Photo],
        pairs: Sequence[tuple[int, int]],
        config: TrainConfig,
        folder: Path,
        history: Sequence[float],
    ) -> None:
        super().__init__()
        self._network, self._folder = model, folder
        self._photos, self._pairs = photos, pairs
        # Fill the last batch, so that several devices can share it.
        filled = [*photos, *islice(cycle(photos), -len(photos) % config.batch_size)]
        self._batches = PhotoBatches(
            filled,
            batch_size=config.batch_size,
            input_size=config.input_size,
            crop_margin=config.crop_margin,
        )
        self._history, self._patience = list(history), config.stop_patience
        self._average = keras.callbacks.SwapEMAWeights() if config.weight_average else None

    def set_model(self, model: keras.Model) -> None:
        """Take the model that is trained."""
        super().set_model(model)
        if self._average:
            self._average.set_model(model)

    @property
    def is_over(self) -> bool:
        """Whether `stop_patience` epochs have passed without improvement."""
        return len(self._history) - np.argmax([-math.inf, *self._history]) >= max(1, self._patience)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Measure and keep the network."""
        if self._average:  # swaps the averages in; `on_test_end` swaps them out
            self._average.on_test_begin()
        scores = self._network.predict(self._batches, verbose=0)[: len(self._photos), 1]
        figures = validation_figures(self._photos, scores, self._pairs)
        is_best = figures["val_auc"] > max(self._history, default=-math.inf)
        for name in [LAST, BEST] if is_best else [LAST]:
            with replaced_file(self._folder / name) as partial:
                self._network.save(partial)
        if self._average:
            self._average.on_test_end()
        self._history.append(figures["val_auc"])
        if self.is_over:
            self.model.stop_training = True
        # Use the names that a network with one output logs, so that curves are comparable.
        renamed = {
            name: logs.get(f"probabilities_{name}", logs.get(name)) for name in ("accuracy", "loss")
        }
        logs.update(figures, total_loss=logs["loss"], **renamed)


def validation_figures(
    photos: Sequence[Photo], scores: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """Return the figures that `Validation` adds to those of an epoch.

    Args:
        photos: of all sources.
        scores: probabilities of fake `[photos]`.
        pairs: positions of fakes and their originals.
    """
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    sources = [photo.source for photo in photos]
    by_source = {
        f"val_auc_{name}": auc for name, auc in source_aucs(truth, scores, sources).items()
    }
    likelihood = np.where(truth, scores, 1 - scores).clip(1e-7)
    figures = {
        "val_auc": mean_auc(truth, scores, sources),
        "val_loss": float(-np.log(likelihood).mean()),
        "val_accuracy": float(np.mean((scores >= 0.5) == truth)),
    }
    if pairs:
        weights = np.ones(len(photos))
        figures["val_paired_ranking"] = paired_ranking(scores, pairs, weights)
    return figures | (by_source if len(by_source) > 1 else {})


def fit_pairs(
    model: keras.Model,
    config: TrainConfig,
    photos: Mapping[str, Sequence[Photo]],
    done: tuple[int, int],
    validation: Validation,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train a network of `training.fit.network` on pairs.

    Args:
        model: the network.
        config: of the run.
        photos: of the splits `"train"` and `"validation"`.
        done: epochs, and batches of the next one, that an earlier process trained on.
        validation: measures the network.
        callbacks: further callbacks; one of them restores the backup of an earlier process.
    """
    if validation.is_over:  # an earlier process stopped there
        return
    epoch, step = done
    batches = training_batches(config, photos["train"], epoch)
    trainer = build_trainer(model, config, steps=config.epochs * len(batches))
    with fed(batches, config.run, read_report(config.data)["size"], first_step=step) as dataset:
        progress = Progress(config.epochs, len(batches), config.batch_size, dataset.ready)
        # The validation comes first, so that the other callbacks see its figures.
        options = {"shuffle": False, "callbacks": [validation, *callbacks, progress], "verbose": 0}
        if step:  # Keras assumes that all epochs of a call are as long as the first
            trainer.fit(dataset, initial_epoch=epoch, epochs=epoch + 1, **options)
        if not validation.is_over:
            trainer.fit(dataset, epochs=config.epochs, **options)


def build_trainer(model: keras.Model, config: TrainConfig, steps: int) -> keras.Model:
    """Return a compiled model that learns from labels and masks.

    Args:
        model: a network of `training.fit.network`; the result shares its weights.
        config: of the run.
        steps: of all epochs together.
    """
    outputs = {"probabilities": model.output}
    losses = {
        "probabilities": keras.losses.CategoricalCrossentropy(
            label_smoothing=config.label_smoothing
        )
    }
    weights = {"probabilities": 1.0}
    if config.mask_weight:
        outputs[EVIDENCE] = model.get_layer(EVIDENCE).output
        losses[EVIDENCE], weights[EVIDENCE] = evidence_loss, config.mask_weight
    trainer = keras.Model(model.input, outputs)
    trainer.compile(
        optimizer=_optimizer(config, steps),
        loss=losses,
        loss_weights=weights,
        metrics={"probabilities": ["accuracy"]},
        jit_compile=JIT_COMPILE,
    )
    return trainer


def training_batches(
    config: TrainConfig, photos: Sequence[Photo], first_epoch: int = 0
) -> PairBatches:
    """Return the batches that a run trains on.

    Args:
        config: of the run.
        photos: of the training split.
        first_epoch: epochs that an earlier process trained.
    """
    names = ("batch_size", "input_size", "epoch_photos", "composites")
    return pair_batches(
        photos,
        read_source_pairs(config.data, photos),
        variation=Variation.from_config(config),
        masks=config.mask_weight > 0,
        seed=draw_seed(config.seed, read_config(config.run)["settings"]["backbone_weights"]),
        first_epoch=first_epoch,
        **{name: getattr(config, name) for name in names},
    )


def draw_seed(seed: int, backbone_weights: str | Mapping[str, str]) -> int:
    """Return the seed of a run's draws.

    A network that continues in another run has already seen what its seed draws. With the same seed
    it would see the very same pairs again, with the same variation.

    Args:
        seed: of the run.
        backbone_weights: the weights that it starts from, as in its settings.
    """
    if isinstance(backbone_weights, str) or not backbone_weights["file"].endswith(".keras"):
        return seed
    return seed + int(backbone_weights["sha256"], 16)


def _optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    warm_up = round(WARM_UP * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=config.learning_rate, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=WEIGHT_DECAY,
        global_clipnorm=CLIP_NORM,
        use_ema=config.weight_average > 0,
        ema_momentum=config.weight_average or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
