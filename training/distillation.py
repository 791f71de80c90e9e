"""What a network learns from others (distillation; Hinton et al. 2015,
https://arxiv.org/abs/1503.02531).

Several networks together are better than each of them, and too much to serve. On every training
photo, varied as the student sees it, their mean answer tells more than the label does: how sure one
can be, and where in the photo.
"""

from __future__ import annotations

from pathlib import Path

import keras

from training.config import TrainConfig
from training.errors import UserError
from training.model import EVIDENCE

NETWORK = "deepfake_cnn.keras"  # of a finished run


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


def load_teachers(config: TrainConfig, photos):
    """Return the mean answer of a run's teachers as `Distillation` takes it.

    Args:
        config: names them.
        photos: Keras input that they look at.

    Raises:
        UserError: one is not finished, has no map, or sees photos of another size.
    """
    verdicts, maps = [], []
    for number, run in enumerate(config.teacher):
        teacher = _load(Path(run), config.input_size, f"teacher_{number}")
        probabilities, evidence = teacher(photos, training=False)
        verdicts.append(probabilities)
        maps.append(keras.ops.sigmoid(evidence))
    return sum(verdicts) / len(verdicts), sum(maps) / len(maps)


def _load(run: Path, input_size: int, name: str) -> keras.Model:
    path = run / NETWORK
    if not path.is_file():
        raise UserError(f"--teacher {run} holds no {NETWORK}: finish it first.")
    network = keras.models.load_model(path, compile=False)
    if network.input_shape[1] != input_size:
        raise UserError(
            f"--teacher {run} sees photos of {network.input_shape[1]} px, not {input_size}: give "
            "its --input-size."
        )
    try:
        evidence = network.get_layer(EVIDENCE).output
    except ValueError as error:
        raise UserError(f"--teacher {run} has no map: it was trained with another head.") from error
    teacher = keras.Model(network.input, [network.output, evidence], name=name)
    teacher.trainable = False
    return teacher
