"""The settings of `prepare` and `train`: a field's annotation is its help text.

The fields in `TRAIN_FLAGS` are flags of `train`; the others are set by `--set KEY=VALUE`. The
defaults of `TrainConfig` are the recipe `plain`; `RECIPES`, at the end, holds what other recipes
change. Constants that no setting changes are in `fit/pairs.py` and `fit/train_pairs.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, get_type_hints

from training.errors import UserError


@dataclass(frozen=True)
class Within:
    """The range of a setting, both ends included."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"of at least {self.low}"
        return f"from {self.low} to {self.high}"


SPLITS = ("train", "validation", "test")
EVIDENCE_STEP = 16  # px of the input per cell of the evidence head's map
CONFIG = "config.json"  # in a run's folder: its settings, data and versions
# In the same folder, the network after the best epoch, and after the last one (only where pairs are
# drawn); the third is the best of a finished run.
BEST, LAST, FINAL = "best_model.keras", "last_model.keras", "deepfake_cnn.keras"
UNSTORED = ("data", "run")  # settings that are not in `CONFIG`: they differ between machines

# Settings that are flags of `train`; the others are for experiments and set by --set.
TRAIN_FLAGS = ("data", "run", "backbone_weights", "input_size", "epochs", "epoch_photos")
TRAIN_FLAGS += ("batch_size", "learning_rate", "composites", "seed")

# Removed settings that older runs still have, with the values that switched them off.
GONE = {
    "start_from": "",
    "teacher": [],
    "teacher_share": 0.7,
    "mixup": 0.0,
    "layer_decay": 1.0,
    "erasing": 0.0,
}

SHARE, SEED = Within(0, 1), Within(0, 2**32 - 1)


def spell(name: str, value: object, *, flag: bool) -> str:
    """Return a setting as the user writes it: as its own flag or with `--set`."""
    return f"--{name.replace('_', '-')} {value}" if flag else f"--set {name}={value}"


def _check_ranges(config: object, flags: Collection[str]) -> None:
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        value = getattr(config, field.name)
        for bounds in hints[field.name].__metadata__[1:]:
            if not bounds.low <= value <= bounds.high:  # false for NaN as well
                given = spell(field.name, value, flag=field.name in flags)
                raise UserError(f"{given} is out of range: give a value {bounds}.")


@dataclass(frozen=True)
class PrepareConfig:
    """What `prepare` reads and writes."""

    source: Annotated[
        tuple[str, ...],
        "WHERE or NAME=WHERE, any number of times; WHERE is `kaggle`, `kaggle:OWNER/NAME`, "
        "`hf:NS/NAME` or a folder with real and fake photos",
    ] = ("kaggle",)
    splits: Annotated[
        Path | None,
        "CSV file (`source,file,split`) that says which photo is in which split; others are dealt",
    ] = None
    output: Annotated[Path, "folder to write"] = Path("data/faces")
    size: Annotated[int, "side of the written photos in px", Within(32, 4096)] = 256
    crop: Annotated[
        bool,
        "crop to the largest face that is found, as the page does, not to the middle",
    ] = False
    group_by: Annotated[
        str, "keep photos in one split that share `sources`, or only identical `files` (leaks)"
    ] = "sources"
    seed: Annotated[int, "decides which photo falls into which split", SEED] = 7
    overwrite: Annotated[bool, "replace another preparation in the folder"] = False

    def __post_init__(self) -> None:
        _check_ranges(self, [field.name for field in fields(self)])
        if self.group_by not in ("sources", "files"):
            raise UserError(f"--group-by {self.group_by} is neither `sources` nor `files`.")


@dataclass(frozen=True)
class TrainConfig:
    """What `train` reads and writes, and how it trains in one stage.

    The defaults are those of the recipe `plain`; `RECIPES` holds what the others change.
    """

    data: Annotated[Path, "folder that `prepare` wrote"] = Path("data/faces")
    run: Annotated[Path, "folder to write"] = Path("runs/efficientnetb0")
    backbone_weights: Annotated[
        str,
        "`imagenet`, `none`, a weights file of EfficientNetB0 without top, or a `.keras` network "
        "that `train` made, to continue from",
    ] = "imagenet"
    trainable_layers: Annotated[
        int, "layers at the backbone's end that train (238 are all)", Within(0, 238)
    ] = 20
    leave_out: Annotated[
        str,
        "sources, separated by commas, whose photos are neither trained nor validated on, to be "
        "tested as foreign",
    ] = ""
    train_share: Annotated[
        float,
        "share of the groups of training photos that is used, to see what more would bring",
        Within(0.01, 1),
    ] = 1.0
    input_size: Annotated[int, "side of the model's input in px", Within(32, 1024)] = 224
    crop_margin: Annotated[
        float,
        "crop to the face, this margin times as large as its box's longer side; 0: whole photos",
        Within(0, 4),
    ] = 0.0
    head: Annotated[
        str,
        "`pooled` (features averaged, two dense layers), or `evidence` (a map of log-odds, pooled)",
    ] = "pooled"
    hidden_units: Annotated[int, "width of the head", Within(1)] = 256
    l2: Annotated[float, "weight of the pooled head's L2 penalty", Within(0)] = 1e-4
    dropout: Annotated[
        float, "share of the head's activations dropped while training", Within(0, 0.99)
    ] = 0.4
    sampling: Annotated[
        str,
        "`photos` (each once an epoch), or `pairs` (a real photo beside a fake of the same source)",
    ] = "photos"
    composites: Annotated[
        float, "pairs: share whose fake is made from the real photo while training", SHARE
    ] = 0.0
    mask_weight: Annotated[
        float, "of the loss that makes the evidence agree with where fakes were changed", Within(0)
    ] = 0.0
    epochs: Annotated[int, "epochs at most", Within(1)] = 10
    epoch_photos: Annotated[
        int, "pairs: photos in an epoch; 0: as many as there are", Within(0)
    ] = 0
    batch_size: Annotated[int, "photos in a step", Within(2)] = 16
    learning_rate: Annotated[
        float, "of Adam: at the start, or after the warm-up of pairs", Within(0, 1)
    ] = 3e-4
    weight_average: Annotated[
        float,
        "momentum of the moving average of the weights that is kept; 0: none",
        Within(0, 0.9999),
    ] = 0.0
    label_smoothing: Annotated[
        float, "share of the label that is spread over both classes", SHARE
    ] = 0.1
    class_weights: Annotated[bool, "weigh the rarer class more"] = True
    rotation: Annotated[float, "augmentation: largest angle in degrees", Within(0, 180)] = 15.0
    shift: Annotated[float, "augmentation: largest shift as a share of width and height", SHARE] = (
        0.1
    )
    zoom: Annotated[float, "augmentation: largest zoom as a share", Within(0, 0.9)] = 0.1
    flip: Annotated[bool, "augmentation: mirror half of the photos"] = True
    brightness: Annotated[
        float, "augmentation: largest change as a share of the full range", SHARE
    ] = 0.15
    channel_shift: Annotated[
        float, "augmentation: largest change of a channel, of 255", Within(0, 255)
    ] = 15.0
    degrade: Annotated[
        float, "augmentation: share of photos that get JPEG, resizing, blur or noise", SHARE
    ] = 0.5
    parts: Annotated[
        float, "pairs: share that is shown by eyes, nose and mouth alone, enlarged", SHARE
    ] = 0.0
    stop_patience: Annotated[
        int, "epochs without a better validation AUC before it stops", Within(0)
    ] = 6
    plateau_patience: Annotated[
        int, "epochs without a lower validation loss before the rate falls", Within(0)
    ] = 2
    plateau_factor: Annotated[
        float, "what the learning rate is multiplied by then", Within(0, 0.99)
    ] = 0.3
    seed: Annotated[int, "of weights, order and augmentation", SEED] = 7

    def __post_init__(self) -> None:
        _check_ranges(self, TRAIN_FLAGS)
        if self.sampling not in ("photos", "pairs"):
            raise UserError(f"--set sampling={self.sampling} is neither `photos` nor `pairs`.")
        if self.mask_weight and self.head != "evidence":
            raise UserError(
                f"--set mask_weight={self.mask_weight} needs --set head=evidence: another head has "
                "no map to fit."
            )
        if self.parts and self.input_size % (2 * EVIDENCE_STEP):
            raise UserError(
                f"--set parts={self.parts} needs an --input-size that is a multiple of "
                f"{2 * EVIDENCE_STEP}: four parts lie side by side."
            )
        pair_settings = ("composites", "mask_weight", "epoch_photos", "weight_average", "parts")
        for name in pair_settings:
            value = getattr(self, name)
            if self.sampling == "photos" and value != getattr(TrainConfig, name):
                raise UserError(
                    f"{spell(name, value, flag=name in TRAIN_FLAGS)} needs a --recipe of pairs, or "
                    "--set sampling=pairs."
                )


# What the recipes change of the defaults.
_PAIRS = {
    # All but the first 37, which end in the middle of block2b: they would cost a third of the time.
    "trainable_layers": 200,
    "crop_margin": 1.2,
    "head": "evidence",
    "sampling": "pairs",
    "mask_weight": 0.5,
    "batch_size": 32,
    "weight_average": 0.998,
    "label_smoothing": 0.03,
    "class_weights": False,
    "dropout": 0.2,
}
RECIPES: dict[str, dict] = {
    "plain": {},
    "one-stage": _PAIRS
    | {
        "input_size": 160,
        "composites": 0.2,
        "epochs": 50,
        # Short epochs, so that validation shows the progress often.
        "epoch_photos": 8000,
        "learning_rate": 4e-4,
        # The learning rate falls to 0 in the last epoch, and the best epoch is among the last.
        "stop_patience": 50,
    },
    # For comparing ingredients and data, on fewer and smaller photos than the other recipes. The
    # ingredients stay those of the first model of this kind, so that figures stay comparable.
    "short": _PAIRS
    | {"input_size": 128, "epochs": 4, "epoch_photos": 4000, "learning_rate": 4e-4}
    | {"weight_average": 0.98, "composites": 0.5, "stop_patience": 3}
    | {"mask_weight": 1.0, "label_smoothing": 0.05},
}
DEFAULT_RECIPE = "one-stage"


def complete_settings(stored: Mapping[str, object]) -> dict:
    """Return a run's stored settings, with defaults for settings that are newer than the run, and
    without removed settings that were off."""
    known = {
        field.name: field.default for field in fields(TrainConfig) if field.name not in UNSTORED
    }
    return known | {
        name: value for name, value in stored.items() if name not in GONE or value != GONE[name]
    }


def check_settings(settings: Mapping[str, object], run: Path) -> None:
    """Check that `train` still knows every setting of a run.

    Raises:
        UserError: it does not.
    """
    gone = sorted(settings.keys() - {field.name for field in fields(TrainConfig)})
    if gone:
        raise UserError(
            f"{run} was started with {', '.join(gone)}, which is not a setting any more: train "
            "anew in another --run."
        )


def read_config(run: Path) -> dict:
    """Return what `train` wrote into the `config.json` of a run's folder.

    Raises:
        UserError: the folder is not a run's, or the file is damaged.
    """
    path = Path(run) / CONFIG
    if not path.is_file():
        raise UserError(f"{run} holds no {CONFIG}: give the folder of a training run.")
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): train anew in another --run.") from error
    if not isinstance(stored, dict) or "settings" not in stored:
        raise UserError(f"{path} was not written by `train`: give the folder of a training run.")
    return stored
