"""Training on pairs: the losses, the rate, and what is measured after every epoch.

The rate rises from 0 and falls back to 0 along a cosine. What a run is worth shows at its end: most
of its rise comes late.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from training.config import TrainConfig
from training.dataset import LABELS, Photo, read_source_pairs
from training.distillation import Distillation, load_teachers
from training.metrics import paired_ranking
from training.model import EVIDENCE, JIT_COMPILE
from training.pairs import UNKNOWN, PairBatches, Variation, pair_batches
from training.pipeline import PhotoBatches

WARM_UP = 0.05  # of the steps: the rate rises from 0
WEIGHT_DECAY = 0.01
LAST_BLOCK = 7  # of EfficientNet


def evidence_loss(masks, evidence):
    """Return how badly evidence agrees with masks: the cross-entropy of its log-odds.

    Where a photo has both, its changed places count together as much as its untouched ones, so that
    a changed eye is not outweighed by the rest of the photo. Places whose truth is unknown do not
    count.

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
    places = (1, 2, 3)

    def mean(weights):
        return ops.sum(weights * entropy, places) / (ops.sum(weights, places) + 1e-6)

    def has(weights):
        return ops.cast(ops.sum(weights, places) > 0, evidence.dtype)

    kinds = (changed, untouched)
    total = sum(has(weights) * mean(weights) for weights in kinds)
    return total / ops.maximum(sum(has(weights) for weights in kinds), 1)


class Validation(keras.callbacks.Callback):
    """Measures every source after each epoch, keeps the best network so far, and stops the training
    where it has not become better for `stop_patience` epochs.

    Adds to the epoch's figures `val_auc` (ROC AUC, mean over the sources, each by the square root
    of its size, as it is drawn in training), that of each source, `val_paired_ranking`, `val_loss`
    and `val_accuracy`. Where the optimizer averages the weights,
    the averages are what is measured and kept.

    Args:
        model: the network that is kept, without what surrounds it in training.
        photos: of the validation split.
        pairs: positions of fakes and their originals.
        config: of the run.
        path: file to keep it in.
        history: `val_auc` of the epochs of an earlier process.
    """

    def __init__(
        self,
        model: keras.Model,
        photos: Sequence[Photo],
        pairs: Sequence[tuple[int, int]],
        config: TrainConfig,
        path: Path,
        history: Sequence[float],
    ) -> None:
        super().__init__()
        self._network, self._path = model, path
        self._photos, self._pairs = photos, pairs
        # Whole batches, which several devices can share.
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
        """Whether the last epochs were none of them better than one before."""
        return len(self._history) - np.argmax([-math.inf, *self._history]) >= max(1, self._patience)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Measure, and keep the network if it is the best so far."""
        if self._average:  # these two put the averages in and take them out again
            self._average.on_test_begin()
        scores = self._network.predict(self._batches, verbose=0)[: len(self._photos), 1]
        figures = validation_figures(self._photos, scores, self._pairs)
        if figures["val_auc"] > max(self._history, default=-math.inf):
            partial = self._path.with_name(f"partial-{self._path.name}")
            self._network.save(partial)
            partial.replace(self._path)
        if self._average:
            self._average.on_test_end()
        self._history.append(figures["val_auc"])
        if self.is_over:
            self.model.stop_training = True
        # By the names that a network with one output logs, so that curves show like beside like.
        own = {
            name: logs.get(f"probabilities_{name}", logs.get(name)) for name in ("accuracy", "loss")
        }
        logs.update(figures, total_loss=logs["loss"], **own)


def validation_figures(
    photos: Sequence[Photo], scores: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """Return the figures that `Validation` adds to an epoch's.

    Args:
        photos: of all sources.
        scores: probabilities of fake `[photos]`.
        pairs: positions of fakes and their originals.
    """
    truth = np.array([photo.is_fake for photo in photos])
    sources = np.array([photo.source for photo in photos])
    members = {name: sources == name for name in sorted(set(sources.tolist()))}
    # A small source may have photos of one label only here, and no AUC.
    members = {name: own for name, own in members.items() if len(set(truth[own])) == len(LABELS)}
    by_source = {
        f"val_auc_{name}": float(roc_auc_score(truth[own], scores[own]))
        for name, own in members.items()
    }
    sizes = [own.sum() for own in members.values()]
    likely = np.where(truth, scores, 1 - scores).clip(1e-7)
    figures = {
        # A plain mean would follow the chance hits of the smallest source.
        "val_auc": float(np.average(list(by_source.values()), weights=np.sqrt(sizes))),
        "val_loss": float(-np.log(likely).mean()),
        "val_accuracy": float(np.mean((scores >= 0.5) == truth)),
    }
    if pairs:
        weights = np.ones(len(photos))
        figures["val_paired_ranking"] = paired_ranking(scores, pairs, weights)
    return figures | (by_source if len(by_source) > 1 else {})


class BlockwiseAdamW(keras.optimizers.AdamW):
    """AdamW that changes the blocks of EfficientNet the less the further they are from the head
    (layer-wise learning-rate decay; Howard and Ruder 2018, https://arxiv.org/abs/1801.06146).

    Args:
        learning_rate: of the head and of the backbone's last block.
        layer_decay: what the rate is multiplied by from each block to the one below.
        weight_decay: share of a weight that a step takes away, times its rate.
        options: others of AdamW.
    """

    def __init__(self, learning_rate, *, layer_decay: float, weight_decay: float, **options):
        super().__init__(learning_rate, weight_decay=0.0, **options)  # which knows one rate only
        self.layer_decay, self.scaled_decay = layer_decay, weight_decay

    def build(self, variables) -> None:
        """Note the factor of each variable, by the block that its path names."""
        super().build(variables)
        blocks = [re.search(r"(?:^|/)(?:block(\d)|stem)", variable.path) for variable in variables]
        self._factors = [
            self.layer_decay ** (LAST_BLOCK - int(block[1] or 0)) if block else 1.0
            for block in blocks
        ]
        self._decayed = [self._use_weight_decay(variable) for variable in variables]

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Change a variable at the rate of its block."""
        index = self._get_variable_index(variable)
        rate = keras.ops.cast(learning_rate * self._factors[index], variable.dtype)
        if self._decayed[index]:
            self.assign_sub(variable, variable * (self.scaled_decay * rate))
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict:
        """Return the arguments that make this optimizer again."""
        own = {"layer_decay": self.layer_decay, "weight_decay": self.scaled_decay}
        return super().get_config() | own


def fit_pairs(
    model: keras.Model,
    config: TrainConfig,
    photos: Mapping[str, Sequence[Photo]],
    epochs_done: int,
    validation: Validation,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train a network of `training.model` on pairs.

    Args:
        model: the network.
        config: of the run.
        photos: of the splits `"train"` and `"validation"`.
        epochs_done: by an earlier process.
        validation: what measures it.
        callbacks: what else is called.
    """
    if validation.is_over:  # an earlier process stopped there
        return
    batches = training_batches(config, photos["train"], epochs_done)
    trainer = build_trainer(model, config, steps=config.epochs * len(batches))
    # The validation comes first: what follows sees its figures.
    trainer.fit(
        batches, epochs=config.epochs, shuffle=False, callbacks=[validation, *callbacks], verbose=2
    )


def build_trainer(model: keras.Model, config: TrainConfig, steps: int) -> keras.Model:
    """Return a network of `training.model`, compiled with all that it learns from: labels, masks
    and teachers.

    Args:
        model: the network, which the result shares its weights with.
        config: of the run.
        steps: of all epochs together.

    Raises:
        UserError: a teacher cannot be loaded.
    """
    outputs = {"probabilities": model.output}
    losses = {
        "probabilities": keras.losses.CategoricalCrossentropy(
            label_smoothing=config.label_smoothing
        )
    }
    of_labels = 1 - config.teacher_share if config.teacher else 1.0
    weights = {"probabilities": of_labels}
    if config.mask_weight:
        outputs[EVIDENCE] = model.get_layer(EVIDENCE).output
        losses[EVIDENCE], weights[EVIDENCE] = evidence_loss, of_labels * config.mask_weight
    if config.teacher:
        lesson = Distillation(config.teacher_share, config.teacher_share * config.mask_weight)
        student = [model.output, model.get_layer(EVIDENCE).output]
        outputs["probabilities"] = lesson(student, load_teachers(config, model.input))
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
        first_epoch: epochs that an earlier process has trained.
    """
    names = ("rotation", "shift", "flip", "brightness", "channel_shift", "degrade")
    shared = ("batch_size", "input_size", "epoch_photos", "composites", "mixup", "erasing", "seed")
    return pair_batches(
        photos,
        read_source_pairs(config.data, photos),
        config.data,
        variation=Variation(**{name: getattr(config, name) for name in names}),
        masks=config.mask_weight > 0,
        first_epoch=first_epoch,
        **{name: getattr(config, name) for name in shared},
    )


def _optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    warm_up = round(WARM_UP * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=config.learning_rate, warmup_steps=warm_up
    )
    optimizer = BlockwiseAdamW(
        rate,
        layer_decay=config.layer_decay,
        weight_decay=WEIGHT_DECAY,
        use_ema=config.weight_average > 0,
        ema_momentum=config.weight_average or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
