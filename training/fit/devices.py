"""Train on several devices: each takes its share of a batch, all keep the same weights.

That is `keras.distribution.DataParallel` where Keras' backend has it (JAX), and
`tf.distribute.MirroredStrategy` on TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras

from training.errors import UserError

ALL = 0


@contextmanager
def on_devices(number: int, batch_size: int) -> Iterator[None]:
    """Build, compile and fit a model in this context to train it on several devices.

    Args:
        number: of devices; `ALL` stands for those that there are. With 1 nothing is changed.
        batch_size: photos in a step, which the devices share.

    Raises:
        UserError: there are fewer, they cannot share a batch evenly, or the backend trains on one
            only.
    """
    backend = keras.config.backend()
    if number == 1:
        yield
    elif backend == "jax":
        devices = _choose(keras.distribution.list_devices(), number, batch_size)
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    elif backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        devices = _choose([device.name for device in found], number, batch_size)
        with tf.distribute.MirroredStrategy(devices).scope():
            yield
    else:
        raise UserError(
            f"--devices {number} needs the backend jax or tensorflow: set KERAS_BACKEND, or train "
            f"on one device with {backend}."
        )


def _choose(found: Sequence[str], number: int, batch_size: int) -> list[str]:
    wanted = number or len(found)
    if wanted > len(found):
        raise UserError(
            f"--devices {number} is more than the {len(found)} that the backend sees: give at most "
            "that, or 0 for all."
        )
    if batch_size % wanted:
        raise UserError(
            f"--batch-size {batch_size} cannot be shared by {wanted} devices evenly: give a "
            "multiple of that."
        )
    return list(found[:wanted])
