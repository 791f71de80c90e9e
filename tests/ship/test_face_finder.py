"""The face finder beside a model, in every folder that needs one."""

import hashlib
import json

import pytest

from space.contract import FINDER_CONFIG_FILE, FINDER_FILE
from space.yunet_files import YUNET_SHA256
from training.errors import UserError
from training.ship import face_finder
from training.ship.face_finder import add_face_finder, copy_face_finder, find_yunet


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / FINDER_FILE).write_bytes(b"graph")
    description = {
        "made_from": YUNET_SHA256[1],
        "sha256": hashlib.sha256(b"graph").hexdigest(),
    }
    (folder / FINDER_CONFIG_FILE).write_text(json.dumps(description))
    return folder


def test_what_is_there_is_kept_and_copied(model, tmp_path):
    assert add_face_finder(model)
    target = tmp_path / "target"
    target.mkdir()
    copy_face_finder(model, target)
    for name in (FINDER_FILE, FINDER_CONFIG_FILE):
        assert (target / name).read_bytes() == (model / name).read_bytes()


def test_without_yunet_a_model_goes_without(tmp_path):
    assert not add_face_finder(tmp_path)  # nothing can be fetched in tests
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="could not be fetched"):
        copy_face_finder(tmp_path, tmp_path)


def test_another_network_is_not_written_beside_a_model(tmp_path, monkeypatch):
    (tmp_path / "mine.onnx").write_bytes(b"my own")
    monkeypatch.setenv("FACE_DETECTOR", str(tmp_path / "mine.onnx"))
    folder = tmp_path / "model"
    folder.mkdir()
    assert not add_face_finder(folder)
    assert not list(folder.iterdir())


def test_a_damaged_file_is_an_error(model):
    (model / FINDER_FILE).write_bytes(b"damaged")
    with pytest.raises(UserError, match="sha256 differs"):
        add_face_finder(model)


def test_the_converted_file_is_not_what_is_converted(tmp_path, monkeypatch):
    onnx = tmp_path / "yunet.onnx"
    onnx.write_bytes(b"")
    monkeypatch.setattr(face_finder, "fetch_yunet", lambda: onnx)
    monkeypatch.setenv("FACE_DETECTOR", str(tmp_path / FINDER_FILE))
    assert find_yunet() == onnx
    monkeypatch.setenv("FACE_DETECTOR", str(tmp_path / "missing.onnx"))
    with pytest.raises(UserError, match=r"missing\.onnx, which is not a file"):
        find_yunet()
