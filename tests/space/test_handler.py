import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import PngImagePlugin

from space.contract import DetectorError
from space.detector import BUNDLED, load_bundled
from space.handler import MAX_BYTES, EndpointHandler
from space.photos import PhotoError
from tests.drawing import draw_face


@pytest.fixture(scope="module")
def handler() -> EndpointHandler:
    return EndpointHandler(BUNDLED)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    draw_face(1, 300).save(path)
    return path


def test_every_way_to_send_a_photo_gets_the_detectors_answer(handler, photo):
    content = photo.read_bytes()
    text = base64.b64encode(content).decode()
    wrapped = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))  # as `base64` prints it
    expected = load_bundled().predict(photo)
    inputs = [content, text, wrapped, f"data:image/png;base64,{text}", {"image": text}]
    inputs.append(draw_face(1, 300))
    answers = handler({"inputs": inputs})
    assert answers == [handler({"inputs": single}) for single in inputs]
    for answer in answers:
        assert answer["probability"] == expected.probability
        assert answer["verdict"] == expected.verdict
        assert answer["meaning"]["fake_share"] == expected.meaning.fake_share
        assert np.array_equal(np.array(answer["heatmap"], np.float32), expected.heatmap)
    assert json.loads(json.dumps(answers)) == answers


def test_a_file_is_asked_what_it_says_of_itself_and_decoded_pixels_are_not(handler):
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "GIMP 2.10")
    file = io.BytesIO()
    draw_face(1, 300).save(file, "PNG", pnginfo=info)
    sent, decoded = handler({"inputs": [file.getvalue(), draw_face(1, 300)]})
    assert [finding["claim"] for finding in sent["provenance"]] == ["", "edited"]
    (finding,) = decoded["provenance"]
    assert "what its file says about itself is unknown" in finding["sentence"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("https://example.com/face.jpg", "not an address or a path"),
        ("face.png", "not an address or a path"),
        ("grüße", "not base64"),
        (base64.b64encode(b"no photo").decode(), "not a readable photo"),
        ({"image": None}, "holds no photo"),
        ({"url": "https://example.com/face.jpg"}, "holds no photo"),
        (Path("face.png"), "holds no photo"),
        (None, "holds no photo"),
        (b"", "The file is empty"),
        (b"0" * (MAX_BYTES + 1), "more than 50 MB"),
    ],
)
def test_what_is_no_photo_is_refused(handler, photo, monkeypatch, inputs, message):
    monkeypatch.chdir(photo.parent)  # even a path that exists is not read
    with pytest.raises(PhotoError, match=message):
        handler({"inputs": inputs})


def test_path_that_could_be_base64_is_not_read(handler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_face(1, 300).save(tmp_path / "face", format="png")
    with pytest.raises(PhotoError, match="not a readable photo"):
        handler({"inputs": "face"})


def test_empty_request_is_refused(handler):
    with pytest.raises(PhotoError, match="holds no photo"):
        handler({})


def test_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(DetectorError, match="cannot be read"):
        EndpointHandler(tmp_path)
