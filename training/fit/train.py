"""Fine-tune the network on a prepared folder: `python -m training train`."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from training.config import (
    BEST,
    CONFIG,
    FINAL,
    RECIPES,
    SPLITS,
    UNSTORED,
    TrainConfig,
    check_settings,
    complete_settings,
    read_config,
)
from training.data.rows import LABELS, Photo, read_report, read_source_pairs, read_split
from training.errors import UserError
from training.fit.callbacks import CheckpointInner, FakeAUC, Replay, StepBackup
from training.fit.devices import on_devices
from training.fit.history import HISTORY, read_history, trim_history
from training.fit.network import JIT_COMPILE, build_model
from training.fit.photos import PhotoBatches, build_augmentation
from training.fit.progress import Progress
from training.fit.train_pairs import Validation, fit_pairs
from training.folders import replaced_file, sha256_of, write_json
from training.measure.report import plot_curves
from training.run import Run, check_data, remember_data

LEGACY = "deepfake_cnn.h5"
CURVES, BACKUP = "curves.png", "backup"
BACKUP_STEPS = 50  # batches of pairs, some minutes on a CPU

log = logging.getLogger(__name__)


def train_recipe(recipe: str, flags: Mapping[str, object], *, resume: bool = False) -> Path:
    """Train with a recipe and return the run's folder.

    Args:
        recipe: a name of `training.config.RECIPES`.
        flags: settings of `TrainConfig` that differ from the recipe's.
        resume: continue an interrupted run.

    Raises:
        UserError: there is no such recipe, or as for `train`.
    """
    if recipe not in RECIPES:
        raise UserError(f"--recipe {recipe} is none of {', '.join(RECIPES)}.")
    config = TrainConfig(**{**RECIPES[recipe], **flags})
    return train(config, resume=resume, given=frozenset(flags) - {"run"})


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    given: frozenset[str] = frozenset(),
    photos: Mapping[str, Sequence[Photo]] | None = None,
) -> Path:
    """Train and return the run's folder.

    Writes `config.json`, `best_model.keras`, `last_model.keras` (where pairs are drawn) and
    `history.csv` while it trains, and at the end `deepfake_cnn.keras` and `deepfake_cnn.h5` (the
    epoch with the best validation AUC) and `curves.png`.

    Args:
        config: the settings.
        resume: continue an interrupted run, with its stored settings.
        given: names of the settings that the user gave, which must agree with the stored ones.
        photos: the photos of `"train"` and `"validation"`; by default the splits of the data.

    Raises:
        UserError: data, weights or run folder cannot be used.
    """
    run = config.run
    data = read_report(config.data)
    stored = read_config(run) if is_started(run, resume) or resume else None
    if stored:
        config = _merge(config, stored, given)
        if (run / FINAL).is_file():
            log.info("%s is finished already.", run)
            return run
    keras.utils.set_random_seed(config.seed)
    epochs_done, steps_done = _progress(run)
    photos = photos or {split: _read_photos(config, split) for split in SPLITS}
    with on_devices(config.batch_size if config.sampling == "pairs" else 1) as devices:
        model = _build(config)
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / CONFIG, _description(config, data, devices, stored))
        remember_data(run, config.data)
        if config.sampling == "pairs":
            _fit_pairs(model, config, photos, epochs_done, steps_done)
        else:
            _fit(model, config, *_batches(config, photos, epochs_done), epochs_done)
    _finish(run)
    return run


def repeat_run(
    run: Path,
    data: Path,
    folder: Path,
    photos: Mapping[str, Sequence[Photo]],
    backbone_weights: str | None,
) -> Path:
    """Train with a run's settings on other photos, or resume that; return the new run's folder.

    Args:
        run: folder of the run whose settings are used.
        data: the prepared folder that it was trained on.
        folder: the new run's folder.
        photos: the photos of `"train"` and `"validation"`.
        backbone_weights: needed again if the run was given a path.

    Raises:
        UserError: the run or the data cannot be used.
    """
    repeated = Run.open(run)
    repeated.check_data(data)
    if backbone_weights is None:
        backbone_weights = repeated.settings["backbone_weights"]
    if isinstance(backbone_weights, dict):
        raise UserError(
            f"{run} was trained from {backbone_weights['file']}: give its path with "
            "--backbone-weights."
        )
    settings = {**repeated.settings, "backbone_weights": backbone_weights}
    check_settings(settings, run)
    if settings["leave_out"] or settings["train_share"] < 1:
        raise UserError("A run on part of the photos cannot be repeated: folds use all photos.")
    return train(
        TrainConfig(data=data, run=folder, **settings),
        resume=(folder / CONFIG).exists(),
        given=frozenset({"backbone_weights"}),
        photos=photos,
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide a model's weights and figures."""
    packages = ("keras", keras.config.backend(), "numpy", "pillow", "scikit-learn")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def is_started(run: Path, resume: bool) -> bool:
    """Return whether a folder holds a run; raise `UserError` if so and it is not resumed."""
    started = (run / CONFIG).exists()
    if started and not resume:
        raise UserError(f"{run} holds a run already: add --resume to go on, or give another --run.")
    return started


def _merge(config: TrainConfig, stored: dict, given: frozenset[str]) -> TrainConfig:
    """Return the stored settings with the current paths; what the user gave must agree."""
    check_data(config.run, stored["data"]["fingerprint"], config.data)
    stored["settings"] = complete_settings(stored["settings"])
    check_settings(stored["settings"], config.run)
    current = _settings(config)
    for name in given & stored["settings"].keys():
        if current[name] != stored["settings"][name]:
            raise UserError(
                f"{config.run} was started with {name} = {stored['settings'][name]}, not "
                f"{current[name]}: leave the flag out or give another --run."
            )
    weights = stored["settings"]["backbone_weights"]
    if "backbone_weights" in given:
        weights = config.backbone_weights
    elif isinstance(weights, dict):
        # The path is not stored. The network is built as for `none`, and the backup holds all its
        # weights. A finished run builds no network.
        if not any((config.run / name).exists() for name in (FINAL, BACKUP)):
            raise UserError(
                f"{config.run} was interrupted in its first epoch: give --backbone-weights again."
            )
        weights = "none"
    return replace(config, **stored["settings"] | {"backbone_weights": weights})


def _settings(config: TrainConfig) -> dict:
    """Return the settings that decide the result.

    A weights file is given by name and hash, as paths differ by machine.
    """
    settings = {name: value for name, value in asdict(config).items() if name not in UNSTORED}
    weights = Path(config.backbone_weights)
    if weights.is_file():
        settings["backbone_weights"] = {"file": weights.name, "sha256": sha256_of(weights)}
    return settings


def _description(config: TrainConfig, data: dict, devices: int, stored: dict | None) -> dict:
    settings = _settings(config)
    if stored:  # the initial weights, although it continues from a backup
        settings["backbone_weights"] = stored["settings"]["backbone_weights"]
    return {
        "settings": settings,
        "devices": devices,  # another machine may have others
        "data": {name: data[name] for name in ("fingerprint", "size", "seed", "counts")},
        "versions": package_versions(),
    }


def _read_photos(config: TrainConfig, split: str) -> list[Photo]:
    photos = read_split(config.data, split, config.leave_out)
    if split != "train":
        return photos
    if config.leave_out:
        known = {photo.source for photo in read_split(config.data, split)}
        unknown = sorted(set(config.leave_out.split(",")) - known)
        if unknown:
            raise UserError(
                f"--set leave_out={config.leave_out}: {config.data} has no training photos of "
                f"{', '.join(unknown)}, but of {', '.join(sorted(known))}."
            )
    return _share(photos, config)


def _share(photos: Sequence[Photo], config: TrainConfig) -> list[Photo]:
    """Return the photos of a share of each source's groups; larger shares contain smaller ones."""
    groups = defaultdict(set)
    for photo in photos:
        groups[photo.source].add(photo.group)

    def place(group: str) -> bytes:
        return hashlib.sha256(f"{config.seed} {group}".encode()).digest()

    used = {
        (source, group)
        for source, source_groups in groups.items()
        for group in sorted(source_groups, key=place)[
            : math.ceil(config.train_share * len(source_groups))
        ]
    }
    return [photo for photo in photos if (photo.source, photo.group) in used]


def _batches(
    config: TrainConfig, photos: Mapping[str, Sequence[Photo]], epochs_done: int
) -> tuple[PhotoBatches, PhotoBatches]:
    names = ("batch_size", "input_size", "crop_margin")
    common = {name: getattr(config, name) for name in names}
    shuffled = PhotoBatches(
        photos["train"],
        shuffle_seed=config.seed,
        first_epoch=epochs_done,
        degrade_share=config.degrade,
        **common,
    )
    return shuffled, PhotoBatches(photos["validation"], **common)


def _build(config: TrainConfig) -> keras.Model:
    names = ("trainable_layers", "head", "input_size", "hidden_units", "l2", "dropout", "seed")
    settings = {name: getattr(config, name) for name in names}
    return build_model(backbone_weights=config.backbone_weights, **settings)


def _fit(
    model: keras.Model,
    config: TrainConfig,
    train_batches: PhotoBatches,
    validation_batches: PhotoBatches,
    epochs_done: int,
) -> None:
    names = ("rotation", "shift", "zoom", "flip", "brightness", "channel_shift", "seed")
    augmentation = build_augmentation(**{name: getattr(config, name) for name in names})
    photos = keras.Input(model.input_shape[1:])
    trainer = keras.Model(photos, model(augmentation(photos)))
    trainer.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
        metrics=["accuracy", FakeAUC(name="auc")],
        jit_compile=JIT_COMPILE,
    )
    weights = _class_weights(train_batches.labels) if config.class_weights else None
    progress = Progress(config.epochs, len(train_batches), config.batch_size)
    trainer.fit(
        train_batches,
        validation_data=validation_batches,
        epochs=config.epochs,
        class_weight=weights,
        shuffle=False,  # the batches shuffle themselves
        callbacks=[*_callbacks(model, config, epochs_done), progress],
        verbose=0,
    )


def _fit_pairs(
    model: keras.Model,
    config: TrainConfig,
    photos: Mapping[str, Sequence[Photo]],
    epochs_done: int,
    steps_done: int,
) -> None:
    run = config.run
    history = read_history(run)[:epochs_done]
    trim_history(run, epochs_done)
    validation = Validation(
        model,
        photos["validation"],
        read_source_pairs(config.data, photos["validation"]),
        config,
        run,
        [epoch["val_auc"] for epoch in history],
    )
    history_file = keras.callbacks.CSVLogger(run / HISTORY, append=True)
    backup = StepBackup(run / BACKUP, BACKUP_STEPS, steps_done)
    done = epochs_done, steps_done
    fit_pairs(model, config, photos, done, validation, [history_file, backup])


def _callbacks(
    model: keras.Model, config: TrainConfig, epochs_done: int
) -> list[keras.callbacks.Callback]:
    run = config.run
    history = read_history(run)[:epochs_done]
    trim_history(run, epochs_done)
    stop = keras.callbacks.EarlyStopping("val_auc", mode="max", patience=config.stop_patience)
    plateau = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor=config.plateau_factor, patience=config.plateau_patience, verbose=1
    )
    best = max((epoch["val_auc"] for epoch in history), default=None)
    return [
        CheckpointInner(
            model, run / BEST, monitor="val_auc", mode="max", initial_value_threshold=best
        ),
        stop,
        plateau,
        keras.callbacks.CSVLogger(run / HISTORY, append=True),
        keras.callbacks.BackupAndRestore(
            run / BACKUP, double_checkpoint=True, delete_checkpoint=False
        ),
        Replay(history, [stop, plateau]),  # after the others were reset and restored
    ]


def _progress(run: Path) -> tuple[int, int]:
    """Return how many epochs, and batches of the next one, an earlier process has trained on."""
    path = run / BACKUP / "training_metadata.json"
    if not path.is_file():
        return 0, 0
    backup = json.loads(path.read_text())
    return backup["epoch"], backup["batch"] + 1 if backup["batch"] else 0


def _class_weights(labels: np.ndarray) -> dict[int, float]:
    classes = np.arange(len(LABELS))
    return dict(enumerate(compute_class_weight("balanced", classes=classes, y=labels).tolist()))


def _finish(run: Path) -> None:
    model = keras.models.load_model(run / BEST)
    history = read_history(run)
    plot_curves(history, run / CURVES)
    for name in (LEGACY, FINAL):  # the second marks the run as finished
        with replaced_file(run / name) as partial:
            model.save(partial)
    shutil.rmtree(run / BACKUP)  # only now: a run interrupted before repeats no epoch
    best = max(range(len(history)), key=lambda epoch: history[epoch]["val_auc"])
    auc = history[best]["val_auc"]
    log.info("%s: validation AUC %.3f in epoch %d of %d.", run / FINAL, auc, best + 1, len(history))
