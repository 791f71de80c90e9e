"""The settings of `prepare` and `train`: each field is a flag, its annotation the help text."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, get_type_hints

from training.errors import UserError


@dataclass(frozen=True)
class Within:
    """The range of a setting, both ends included."""

    low: float
    high: float = math.inf


SPLITS = ("train", "validation", "test")
CONFIG = "config.json"  # in a run's folder: its settings, data and versions

SHARE, SEED = Within(0, 1), Within(0, 2**32 - 1)


def _check_ranges(config: object) -> None:
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        value = getattr(config, field.name)
        for bounds in hints[field.name].__metadata__[1:]:
            if not bounds.low <= value <= bounds.high:  # false for NaN as well
                raise UserError(
                    f"--{field.name.replace('_', '-')} {value} is out of range: give a value from "
                    f"{bounds.low} to {bounds.high}."
                )


@dataclass(frozen=True)
class PrepareConfig:
    """What `prepare` reads and writes."""

    source: Annotated[str, "`kaggle`, or a folder with real and fake photos"] = "kaggle"
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

    def __post_init__(self) -> None:
        _check_ranges(self)
        if self.group_by not in ("sources", "files"):
            raise UserError(f"--group-by {self.group_by} is neither `sources` nor `files`.")


@dataclass(frozen=True)
class TrainConfig:
    """What `train` reads and writes, and how it trains."""

    data: Annotated[Path, "folder that `prepare` wrote"] = Path("data/faces")
    run: Annotated[Path, "folder to write"] = Path("runs/efficientnetb0")
    backbone_weights: Annotated[
        str, "`imagenet`, `none` or the path of a weights file of EfficientNetB0 without top"
    ] = "imagenet"
    trainable_layers: Annotated[
        int, "layers at the backbone's end that train (238 are all)", Within(0, 238)
    ] = 20
    input_size: Annotated[int, "side of the model's input in px", Within(32, 1024)] = 224
    hidden_units: Annotated[int, "width of the head", Within(1)] = 256
    l2: Annotated[float, "weight of the head's L2 penalty", Within(0)] = 1e-4
    dropout: Annotated[
        float, "share of the head's activations dropped while training", Within(0, 0.99)
    ] = 0.4
    epochs: Annotated[int, "passes over the training photos at most", Within(1)] = 10
    batch_size: Annotated[int, "photos in a step", Within(2)] = 16
    learning_rate: Annotated[float, "of Adam, at the start", Within(0, 1)] = 3e-4
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
        _check_ranges(self)


def read_config(run: Path) -> dict:
    """Return what `train` noted in a run's folder.

    Raises:
        UserError: it is no run's folder.
    """
    path = Path(run) / CONFIG
    if not path.is_file():
        raise UserError(f"{run} holds no {CONFIG}: give the folder of a training run.")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): train anew in another --run.") from error
