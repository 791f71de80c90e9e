"""What a network learns from others (distillation; Hinton et al. 2015,
https://arxiv.org/abs/1503.02531).

Several networks together are often better than each of them, and too much to serve. On every
training photo, varied as the student sees it, their mean answer tells more than the label does: how
sure one can be, and where in the photo.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras

from training.config import FINAL, TrainConfig, complete_settings, read_config
from training.dataset import read_report
from training.errors import UserError
from training.model import EVIDENCE

log = logging.getLogger(__name__)


class Distillation(keras.layers.Layer):
    """Passes a student's probabilities through, and adds the cross-entropy between its answers and
    those of its teachers to the losses.

    Args:
        weight: of the verdicts' cross-entropy.
        map_weight: of that of the maps, the mean over all places.
    """

    def __init__(self, weight: float, map_weight: float, **options) -> None:
        super().__init__(**options)
        self.weight, self.map_weight = weight, map_weight

    def call(self, student, teacher):
        """Add the losses.

        Args:
            student: probabilities `[batch, 2]` and log-odds `[batch, rows, columns, 1]`.
            teacher: the same, but both of them probabilities.

        Returns:
            The student's probabilities.
        """
        ops = keras.ops
        probabilities, evidence = student
        wanted, wanted_evidence = teacher
        verdicts = ops.categorical_crossentropy(wanted, probabilities)
        places = ops.binary_crossentropy(wanted_evidence, evidence, from_logits=True)
        self.add_loss(self.weight * ops.mean(verdicts) + self.map_weight * ops.mean(places))
        return probabilities


def check_teachers(config: TrainConfig) -> None:
    """Check that a run's teachers are finished, see what it sees, and know no source that it leaves
    out; warn of other data.

    Raises:
        UserError: one does not.
    """
    for run in map(Path, config.teacher):
        stored = read_config(run)
        if not (run / FINAL).is_file():
            raise UserError(f"--teacher {run} holds no {FINAL}: finish it first.")
        settings = complete_settings(stored["settings"])
        for name in ("head", "input_size", "crop_margin"):
            if settings[name] != getattr(config, name):
                raise UserError(
                    f"--teacher {run} was trained with {name} = {settings[name]}, not "
                    f"{getattr(config, name)}: choose another teacher, or give its setting."
                )
        if config.leave_out and {*_left_out(settings)} != {config.leave_out}:
            raise UserError(f"--teacher {run} has seen {config.leave_out}, which is left out here.")
        if stored["data"]["fingerprint"] != read_report(config.data)["fingerprint"]:
            log.warning(
                "%s was trained on other data than %s: it may know photos of its validation or "
                "test split.",
                run,
                config.data,
            )


def _left_out(settings: Mapping) -> Iterator[str]:
    """Yield the source that each stage of a run left out, or an empty text."""
    yield settings["leave_out"]
    if settings["start_from"]:
        yield from _left_out(complete_settings(settings["start_from"]))


def load_teachers(config: TrainConfig, photos):
    """Return the mean answer of a run's teachers as `Distillation` takes it.

    While the student trains, the teachers answer as in their own training, with parts of them
    dropped out at random, but with fixed batch statistics: their mean over the steps is that of
    many networks (dropout distillation; Bulò et al. 2016,
    https://proceedings.mlr.press/v48/bulo16.html).

    Args:
        config: names them.
        photos: Keras input `[batch, size, size, 3]` that they look at.

    Raises:
        UserError: one cannot be loaded.
    """
    answers = [
        _load(Path(run), f"teacher_{number}")(photos) for number, run in enumerate(config.teacher)
    ]
    verdicts, maps = zip(*answers, strict=True)
    maps = [keras.ops.sigmoid(evidence) for evidence in maps]
    return sum(verdicts) / len(verdicts), sum(maps) / len(maps)


def _load(run: Path, name: str) -> keras.Model:
    try:
        network = keras.models.load_model(run / FINAL, compile=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--teacher {run} cannot be loaded ({error}): train it anew.") from error
    evidence = network.get_layer(EVIDENCE).output
    teacher = keras.Model(network.input, [network.output, evidence], name=name)
    teacher.trainable = False
    return teacher
