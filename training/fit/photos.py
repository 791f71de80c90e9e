"""Batches of photos for training and evaluation, and the augmentation of the training photos."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from PIL import Image

from space.photos import model_input
from training.data.rows import LABELS, Photo, open_framed
from training.fit.degrade import degrade


class PhotoBatches(keras.utils.PyDataset):
    """Decodes photos batch by batch, with the code of the page.

    A batch is a pair of `float32` arrays: photos `[batch, size, size, 3]` (RGB, 0 to 255) and
    one-hot labels `[batch, 2]`.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        *,
        batch_size: int,
        input_size: int,
        shuffle_seed: int | None = None,
        first_epoch: int = 0,
        degrade_share: float = 0.0,
        crop_margin: float = 0.0,
    ) -> None:
        """Prepare to read some photos.

        Args:
            photos: the photos.
            batch_size: photos in a batch.
            input_size: side of the photos in px.
            shuffle_seed: seed of the order, which changes in every epoch. Photos that do not fill a
                batch are left out, as a batch of one or two would throw off the batch
                normalisation. Without a seed, all photos come in order.
            first_epoch: epochs that an earlier process trained, to continue its order.
            degrade_share: share of the photos that go through `training.fit.degrade.degrade`, drawn
                anew in every epoch.
            crop_margin: margin of the crop to the face, see `space.crops.crop_face`; 0: no crop.
        """
        super().__init__(workers=2, max_queue_size=8)
        self.labels = np.array([photo.is_fake for photo in photos], dtype=int)
        self._photos = list(photos)
        self._crop_margin = crop_margin
        self._batch_size = min(batch_size, len(photos))
        self._input_size = input_size
        self._shuffle_seed = shuffle_seed
        self._epoch = first_epoch
        self._degrade_share = degrade_share
        self._shuffle()

    def __len__(self) -> int:
        batches = len(self._photos) / self._batch_size
        return math.ceil(batches) if self._shuffle_seed is None else math.floor(batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        photos = np.stack([self._read(i) for i in chosen])
        return photos, np.eye(len(LABELS), dtype=np.float32)[self.labels[chosen]]

    def _read(self, index: int) -> np.ndarray:
        photo = open_framed(self._photos[index], self._crop_margin)
        rng = np.random.default_rng([self._shuffle_seed or 0, self._epoch, index])
        if rng.random() < self._degrade_share:
            photo = Image.fromarray(degrade(np.asarray(photo), rng))
        return model_input(photo, self._input_size)

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        self._order = np.arange(len(self._photos))
        if self._shuffle_seed is not None:
            np.random.default_rng([self._shuffle_seed, self._epoch]).shuffle(self._order)


class RandomChannelShift(keras.layers.Layer):
    """Adds a random amount to each colour channel of each photo while training.

    Args:
        amount: largest shift, in units of pixel values 0 to 255.
        seed: seed of the random shifts.
    """

    def __init__(self, amount: float, seed: int | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.amount = amount
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, photos, training=False):
        """Return `[batch, height, width, 3]`, shifted and clipped to 0 to 255 in training only."""
        if not training:
            return photos
        shape = (keras.ops.shape(photos)[0], 1, 1, photos.shape[-1])
        shift = keras.random.uniform(shape, -self.amount, self.amount, seed=self.seed_generator)
        return keras.ops.clip(photos + shift, 0.0, 255.0)

    def get_config(self) -> dict:
        """Return the constructor arguments of this layer."""
        return super().get_config() | {"amount": self.amount, "seed": self.seed}


def build_augmentation(
    *,
    rotation: float,
    shift: float,
    zoom: float,
    flip: bool,
    brightness: float,
    channel_shift: float,
    seed: int,
) -> keras.Sequential:
    """Return the layers that vary training photos; those that are 0 or off are left out.

    Args:
        rotation: largest angle in degrees.
        shift: largest shift to each side, as a share of width and height.
        zoom: largest zoom in and out, as a share.
        flip: mirror half of the photos.
        brightness: largest change, as a share of the full range.
        channel_shift: largest change of a colour channel, in pixel values.
        seed: seed of all of them.
    """
    edges = {"fill_mode": "nearest", "seed": seed}  # black corners would be a feature of their own
    layers = keras.layers
    chain = [
        (flip, lambda: layers.RandomFlip("horizontal", seed=seed)),
        (rotation, lambda: layers.RandomRotation(rotation / 360, **edges)),
        (shift, lambda: layers.RandomTranslation(shift, shift, **edges)),
        (zoom, lambda: layers.RandomZoom((-zoom, zoom), **edges)),
        (brightness, lambda: layers.RandomBrightness(brightness, value_range=(0, 255), seed=seed)),
        (channel_shift, lambda: RandomChannelShift(channel_shift, seed=seed)),
    ]
    return keras.Sequential([make() for wanted, make in chain if wanted], name="augmentation")
