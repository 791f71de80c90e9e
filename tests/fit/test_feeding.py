import errno
import os
import pickle

import numpy as np
import pytest
from PIL import Image

import training.fit.decoded
import training.fit.feeding
from space.photos import open_photo
from training.data.rows import PARTS, Photo
from training.fit.decoded import FILE, DecodedPhotos
from training.fit.feeding import fed
from training.fit.pairs import PairBatches
from training.fit.variation import Variation

SIDE = 64


@pytest.fixture
def paths(tmp_path, rng):
    written = []
    for number, shape in enumerate([(SIDE, SIDE, 3), (40, SIDE, 3), (SIDE, 36, 3), (90, 90, 3)]):
        written.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(written[-1])
    return written


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_photos_are_those_of_their_files_and_decoded_once(paths, tmp_path, monkeypatch):
    photos = DecodedPhotos(paths, tmp_path, SIDE)
    expected = [np.asarray(open_photo(path)) for path in paths]
    for photo, pixels in zip(photos, expected, strict=False):
        np.testing.assert_array_equal(photo, pixels)
        assert not photo.flags.writeable
    monkeypatch.setattr(training.fit.decoded, "open_photo", None)
    # Another process opens the same file, which the last photo is too large for.
    for shared in (
        photos,
        pickle.loads(pickle.dumps(photos)),
        DecodedPhotos(paths, tmp_path, SIDE),
    ):
        for index in range(3):
            np.testing.assert_array_equal(shared[index], expected[index])
        with pytest.raises(TypeError):
            shared[3]


def test_without_room_photos_are_decoded_again(paths, tmp_path, monkeypatch, caplog):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    photos = pickle.loads(pickle.dumps(DecodedPhotos(paths, tmp_path, SIDE)))
    np.testing.assert_array_equal(photos[1], np.asarray(open_photo(paths[1])))
    assert not (tmp_path / FILE).exists()
    assert "No room" in caplog.text


def make_batches(paths) -> PairBatches:
    photos = [
        Photo(
            file_name=path.name,
            label=("real", "fake")[number % 2],
            source="any",
            difficulty="",
            **dict.fromkeys(PARTS),
            group=path.stem,
            face="10.0 10.0 30.0 30.0",
            path=path,
        )
        for number, path in enumerate(paths)
    ]
    variation = Variation(
        rotation=5, shift=0.1, flip=True, brightness=0.1, channel_shift=5, degrade=0.5
    )
    options = {"batch_size": 4, "input_size": 32, "epoch_photos": 16, "composites": 0.0}
    return PairBatches(
        photos, originals={}, edits={}, variation=variation, masks=True, seed=5, **options
    )


def test_processes_draw_what_threads_draw(paths, tmp_path, monkeypatch):
    plain = make_batches(paths)
    wanted = [plain[index] for index in range(len(plain))]
    plain.epoch = 1
    wanted += [plain[index] for index in range(len(plain))]
    monkeypatch.setattr(training.fit.feeding, "FEW_CORES", 1)
    for workers in (1, 2):  # a thread, two processes
        with fed(make_batches(paths), tmp_path, SIDE, first_step=1, workers=workers) as dataset:
            assert len(dataset) == 3
            drawn = [dataset[index] for index in range(3)]
            assert list(dataset.ready) == [0, 1, 2]
            assert sorted(dataset.ready.values()) == list(dataset.ready.values())
            dataset.on_epoch_end()
            assert len(dataset) == 4
            drawn += [dataset[index] for index in range(4)]
        assert not (tmp_path / FILE).exists()
        for (photos, targets), (expected, truth) in zip(drawn, wanted[1:], strict=True):
            np.testing.assert_array_equal(photos, expected)
            np.testing.assert_array_equal(targets["evidence"], truth["evidence"])
