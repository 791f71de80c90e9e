"""Train on all available devices: each takes its share of a batch, all keep the same weights.

With JAX this is `keras.distribution.DataParallel`, with TensorFlow
`tf.distribute.MirroredStrategy`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import keras

log = logging.getLogger(__name__)


@contextmanager
def on_devices(batch_size: int) -> Iterator[int]:
    """Yield the number of devices that train a model.

    A model that is built, compiled and fitted in this context trains on as many devices as can
    share its batches evenly.

    Args:
        batch_size: photos in a step; with 1, one device trains.
    """
    available = _list_devices() if batch_size > 1 else []
    number = max((n for n in range(1, len(available) + 1) if batch_size % n == 0), default=1)
    if number < len(available):
        log.warning(
            "Training on %d of %d devices: more cannot share a batch of %d evenly.",
            number,
            len(available),
            batch_size,
        )
    if number == 1:
        yield 1
    elif keras.config.backend() == "jax":
        previous = keras.distribution.distribution()
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=available[:number])
        )
        try:
            yield number
        finally:
            keras.distribution.set_distribution(previous)
    else:
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(available[:number]).scope():
            yield number


def _list_devices() -> list[str]:
    """Return the names of the backend's devices; none for PyTorch, which trains on one."""
    backend = keras.config.backend()
    if backend == "jax":
        return keras.distribution.list_devices()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in devices]
    return []
