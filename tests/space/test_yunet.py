"""Which of YuNet's two files is used, and how the network's outputs are decoded.

`test_web.py`, which converts the network for the page in the browser, tests that both files give
the same rows.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from space import faces, yunet_networks
from space.contract import FINDER_CONFIG_FILE, FINDER_FILE
from space.detector import BUNDLED
from space.faces import FaceFinderError, load_face_finder
from space.photos import open_photo
from space.yunet_files import YUNET_SHA256, converted_yunet
from space.yunet_networks import OUTPUTS, STRIDES, decoded

GRAPH = b"a graph"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with a dummy face finder that matches its description."""
    (tmp_path / FINDER_FILE).write_bytes(GRAPH)
    describe(tmp_path)
    return tmp_path


def describe(folder: Path, **changed: str) -> None:
    description = {"made_from": YUNET_SHA256[0], "sha256": hashlib.sha256(GRAPH).hexdigest()}
    (folder / FINDER_CONFIG_FILE).write_text(json.dumps(description | changed))


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes seen by a double of LiteRT, which finds a face in the middle of each picture."""
    seen = []

    def set_up(content: bytes, threads: int):
        def rows(bgr: np.ndarray) -> np.ndarray:
            seen.append(bgr.shape)
            box = [112, 112, 160, 160]
            landmarks = [160, 180, 224, 180, 192, 210, 165, 240, 220, 240]
            return np.array([[*box, *landmarks, 0.95]], np.float32)

        assert content == GRAPH
        return rows

    monkeypatch.setattr(yunet_networks, "_with_litert", set_up)
    monkeypatch.setattr(yunet_networks, "_litert_outputs", lambda content: set(OUTPUTS))
    return seen


def no_download() -> Path:
    raise AssertionError("nothing is fetched where the file is there")


def test_the_file_beside_the_model_is_used_and_nothing_is_fetched(model, runtime, monkeypatch):
    monkeypatch.setattr(faces, "fetch_yunet", no_download)
    finder = load_face_finder(model)
    assert finder.name == "YuNet"
    assert "LiteRT" in finder.notice
    assert len(finder.find(open_photo(BUNDLED.parent / "examples/portrait.jpg"))) == 1
    assert all(side % 64 == 0 for shape in runtime for side in shape[:2])


def test_the_environment_names_a_file_for_litert(model, runtime, monkeypatch):
    monkeypatch.setenv("FACE_DETECTOR", str(model / FINDER_FILE))
    (model / FINDER_CONFIG_FILE).unlink()  # a file that the user names is trusted
    assert FINDER_FILE in load_face_finder().notice


def test_networks_of_twelve_sizes_are_kept(model, runtime):
    networks = yunet_networks.Networks(model / FINDER_FILE)
    set_up = []
    networks._set_up = lambda size: set_up.append(size) or (lambda bgr: bgr)
    small = [(64, 64 * number) for number in range(2, 11)]
    for width, height in [*small, *small, (704, 704), (704, 704), (768, 704), (704, 704)]:
        networks.rows(np.zeros((height, width, 3), np.uint8))
    assert set_up == [*small, (704, 704), (768, 704), (704, 704)]  # only one large network is kept


def test_a_folder_without_the_file_has_none(tmp_path):
    assert converted_yunet(tmp_path) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sha256": "0" * 64}, "sha256 differs"),
        ({"made_from": "0" * 64}, "not made from YuNet's published file"),
    ],
)
def test_another_file_than_described_is_refused(model, changed, message):
    describe(model, **changed)
    with pytest.raises(FaceFinderError, match=message):
        converted_yunet(model)


@pytest.mark.parametrize("text", [None, "no JSON", "[]", "{}"])
def test_a_file_without_description_is_refused(model, text):
    (model / FINDER_CONFIG_FILE).unlink()
    if text is not None:
        (model / FINDER_CONFIG_FILE).write_text(text)
    with pytest.raises(FaceFinderError, match=rf"without a {FINDER_CONFIG_FILE}"):
        converted_yunet(model)


# Bytes that are no network, and a network for another purpose.
@pytest.mark.parametrize("content", [b"no network", (BUNDLED / "detector.tflite").read_bytes()])
def test_a_wrong_file_for_litert_is_one_sentence(tmp_path, monkeypatch, content):
    (tmp_path / FINDER_FILE).write_bytes(content)
    monkeypatch.setenv("FACE_DETECTOR", str(tmp_path / FINDER_FILE))
    with pytest.raises(FaceFinderError, match=FINDER_FILE):
        load_face_finder()


def nothing(width: int, height: int) -> dict[str, np.ndarray]:
    """Return YuNet's outputs for a picture without a face."""
    values = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    return {
        f"{kind}_{stride}": np.zeros((1, (width // stride) * (height // stride), number), "f4")
        for kind, number in values.items()
        for stride in STRIDES
    }


def test_outputs_become_boxes_and_the_surest_of_a_face_stays():
    width = 128
    outputs = nothing(width, 64)
    outputs["bbox_16"][0, :, 2:] = np.log(3)  # boxes of 48 px
    outputs["obj_16"][0, :] = 1.2  # which counts as 1
    outputs["cls_16"][0, [9, 10, 15, 16], 0] = 0.64, 0.81, 0.49, 0.01  # the second covers the first
    outputs["kps_16"][0, 10] = np.arange(10) / 10
    rows = decoded(outputs, width)
    # With 8 places per row, places 10 and 15 are columns 2 and 7 of the second row.
    assert rows[:, 14] == pytest.approx([0.9, 0.7])
    assert rows[0, :4] == pytest.approx([2 * 16 - 24, 16 - 24, 48, 48])
    assert rows[1, :4] == pytest.approx([7 * 16 - 24, 16 - 24, 48, 48])
    x, y = rows[0, 4:14:2], rows[0, 5:14:2]
    assert x == pytest.approx(32 + 16 * np.arange(0, 10, 2) / 10)
    assert y == pytest.approx(16 + 16 * np.arange(1, 10, 2) / 10)


def test_nothing_in_the_outputs_gives_no_rows():
    assert decoded(nothing(64, 128), 64).shape == (0, 15)
