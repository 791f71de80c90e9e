"""The settings of `prepare` and `train`: each field is a flag, its annotation the help text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated


@dataclass(frozen=True)
class PrepareConfig:
    """What `prepare` reads and writes."""

    source: Annotated[str, "`kaggle`, or a folder with real and fake photos"] = "kaggle"
    output: Annotated[Path, "folder to write"] = Path("data/faces")
    size: Annotated[int, "side of the written photos in px"] = 256
    group_by: Annotated[
        str, "keep photos in one split that share `sources`, or only identical `files` (leaks)"
    ] = "sources"
    seed: Annotated[int, "decides which photo falls into which split"] = 7


@dataclass(frozen=True)
class TrainConfig:
    """What `train` reads and writes, and how it trains."""

    data: Annotated[Path, "folder that `prepare` wrote"] = Path("data/faces")
    run: Annotated[Path, "folder to write"] = Path("runs/efficientnetb0")
    backbone_weights: Annotated[
        str, "`imagenet`, `none` or the path of a weights file of EfficientNetB0 without top"
    ] = "imagenet"
    trainable_layers: Annotated[int, "layers at the backbone's end that train"] = 20
    input_size: Annotated[int, "side of the model's input in px"] = 224
    hidden_units: Annotated[int, "width of the head"] = 256
    l2: Annotated[float, "weight of the head's L2 penalty"] = 1e-4
    dropout: Annotated[float, "share of the head's activations dropped while training"] = 0.4
    epochs: Annotated[int, "passes over the training photos at most"] = 10
    batch_size: Annotated[int, "photos in a step"] = 16
    learning_rate: Annotated[float, "of Adam, at the start"] = 3e-4
    label_smoothing: Annotated[float, "share of the label that is spread over both classes"] = 0.1
    class_weights: Annotated[bool, "weigh the rarer class more"] = True
    rotation: Annotated[float, "augmentation: largest angle in degrees"] = 15.0
    shift: Annotated[float, "augmentation: largest shift as a share of width and height"] = 0.1
    zoom: Annotated[float, "augmentation: largest zoom as a share"] = 0.1
    flip: Annotated[bool, "augmentation: mirror half of the photos"] = True
    brightness: Annotated[float, "augmentation: largest change as a share of the full range"] = 0.15
    channel_shift: Annotated[float, "augmentation: largest change of a channel, of 255"] = 15.0
    degrade: Annotated[
        float, "augmentation: share of photos that get JPEG, resizing, blur or noise"
    ] = 0.0
    stop_patience: Annotated[int, "epochs without a better validation AUC before it stops"] = 6
    plateau_patience: Annotated[
        int, "epochs without a lower validation loss before the rate falls"
    ] = 2
    plateau_factor: Annotated[float, "what the learning rate is multiplied by then"] = 0.3
    seed: Annotated[int, "of weights, order and augmentation"] = 7
