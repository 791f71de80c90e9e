import keras
import numpy as np
import pytest

from space.photos import model_input, open_photo
from training.data.rows import read_split
from training.fit.photos import PhotoBatches, RandomChannelShift, build_augmentation

OFF = {"rotation": 0, "shift": 0, "zoom": 0, "flip": False, "brightness": 0, "channel_shift": 0}


def all_labels(batches: PhotoBatches) -> np.ndarray:
    return np.concatenate([batches[i][1] for i in range(len(batches))])


def test_evaluation_sees_every_photo_in_order_as_the_page_would(data):
    rows = read_split(data, "validation")
    batches = PhotoBatches(rows, batch_size=4, input_size=48)
    assert all_labels(batches)[:, 1].tolist() == [row.label == "fake" for row in rows]
    photos, _ = batches[0]
    expected = model_input(open_photo(rows[1].path), 48)
    assert photos.dtype == np.float32
    assert np.array_equal(photos[1], expected)


def test_training_batches_are_full_and_shuffled_anew(data):
    batches = PhotoBatches(read_split(data, "train"), batch_size=8, input_size=32, shuffle_seed=1)
    assert {len(batches[i][0]) for i in range(len(batches))} == {8}
    first = all_labels(batches)
    batches.on_epoch_end()
    assert not np.array_equal(all_labels(batches), first)


def test_order_goes_on_where_an_earlier_process_stopped(data):
    options = {"batch_size": 8, "input_size": 32, "shuffle_seed": 1}
    whole = PhotoBatches(read_split(data, "train"), **options)
    whole.on_epoch_end()
    resumed = PhotoBatches(read_split(data, "train"), first_epoch=1, **options)
    assert np.array_equal(resumed[0][0], whole[0][0])


def test_share_of_photos_is_degraded_anew_in_every_epoch(data):
    photos = read_split(data, "train")[:20]
    options = {"batch_size": 20, "input_size": 64}
    clean = PhotoBatches(photos, **options)[0][0]
    batches = PhotoBatches(photos, degrade_share=0.5, **options)
    changed = []
    for _ in range(2):
        changed.append(np.abs(batches[0][0] - clean).max(axis=(1, 2, 3)) > 0)
        batches.on_epoch_end()
    assert 3 < changed[0].sum() < 17
    assert not np.array_equal(*changed)


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": 30},
        {"shift": 0.2},
        {"zoom": 0.3},
        {"flip": True},
        {"brightness": 0.3},
        {"channel_shift": 40},
    ],
)
def test_each_augmentation_changes_training_photos_only(change):
    photos = np.random.default_rng(0).uniform(0, 255, (8, 24, 24, 3)).astype(np.float32)
    augmentation = build_augmentation(**OFF | change, seed=3)
    varied = np.asarray(augmentation(photos, training=True))
    assert np.abs(varied - photos).mean() > 1
    assert varied.min() >= 0
    assert varied.max() <= 255
    assert np.array_equal(np.asarray(augmentation(photos, training=False)), photos)


def test_channel_shift_is_one_amount_a_channel_and_photo():
    photos = np.full((4, 6, 6, 3), 128, np.float32)
    shifts = np.asarray(RandomChannelShift(30, seed=1)(photos, training=True)) - photos
    assert np.abs(shifts - shifts[:, :1, :1]).max() < 1e-4
    assert len(np.unique(shifts[:, 0, 0].round(3))) == 12
    assert np.abs(shifts).max() <= 30


def test_channel_shift_is_made_again_from_its_config():
    layer = RandomChannelShift.from_config(RandomChannelShift(12, seed=5).get_config())
    assert isinstance(layer, keras.layers.Layer)
    assert (layer.amount, layer.seed) == (12, 5)
