"""Train on all devices that there are: each takes its share of a batch, all keep the same weights.

That is `keras.distribution.DataParallel` where Keras' backend has it (JAX), and
`tf.distribute.MirroredStrategy` on TensorFlow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import keras

log = logging.getLogger(__name__)


@contextmanager
def on_devices(batch_size: int) -> Iterator[int]:
    """Build, compile and fit a model in this context to train it on as many devices as can share
    its batches evenly; yields their number.

    Args:
        batch_size: photos in a step; with 1 nothing is changed.
    """
    found = _list_devices() if batch_size > 1 else []
    number = max((n for n in range(1, len(found) + 1) if batch_size % n == 0), default=1)
    if number < len(found):
        log.warning(
            "Training on %d of %d devices: more cannot share a batch of %d evenly.",
            number,
            len(found),
            batch_size,
        )
    if number == 1:
        yield 1
    elif keras.config.backend() == "jax":
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=found[:number]))
        try:
            yield number
        finally:
            keras.distribution.set_distribution(before)
    else:
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(found[:number]).scope():
            yield number


def _list_devices() -> list[str]:
    """Return the devices of the backend; PyTorch trains on one only, which goes without saying."""
    backend = keras.config.backend()
    if backend == "jax":
        return keras.distribution.list_devices()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in found]
    return []
