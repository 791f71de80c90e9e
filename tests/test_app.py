"""The page, started in a process of its own with nothing but what `space/requirements.txt`
names."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from space.detector import load_bundled
from tests.drawing import draw_face
from tests.serving import ask_page, serve_page, shown_text


@pytest.fixture(scope="module")
def client(space_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serve_page(space_python, tmp_path_factory.mktemp("page") / "log.txt") as client:
        yield client


def test_environment_has_no_training_packages(space_python):
    for name in ("tensorflow", "keras", "cv2", "sklearn", "matplotlib"):
        result = subprocess.run(
            [space_python, "-c", f"import {name}"], capture_output=True, check=False
        )
        assert result.returncode != 0, name
    subprocess.run([space_python, "-c", "import gradio, ai_edge_litert, numpy, PIL"], check=True)


def test_page_judges_a_photo_like_the_detector(client, tmp_path):
    path = tmp_path / "face.png"
    draw_face(1, 300).save(path)
    label, heatmap, sentence = client.predict(handle_file(path), api_name="/judge_photo")
    expected = load_bundled().predict(path)
    shown = {entry["label"]: entry["confidence"] for entry in label["confidences"]}
    assert shown["Fake"] == pytest.approx(expected.probability, abs=1e-3)
    assert shown["Real"] == pytest.approx(1 - expected.probability, abs=1e-3)
    assert Image.open(heatmap).size == (300, 300)
    assert expected.verdict in sentence.lower()
    assert f"{expected.meaning.fake_share:.0%} were fake" in sentence
    assert "composites made by hand" in sentence
    assert "can be wrong" in sentence


@pytest.mark.parametrize("mode", ["CMYK", "I;16"])
def test_page_reads_cmyk_and_16_bit(client, tmp_path, mode):
    face = draw_face(1, 300)
    path = tmp_path / "face.tiff"
    if mode == "I;16":
        face = Image.fromarray(np.asarray(face.convert("L"), np.uint16) * 257)
    else:
        face = face.convert(mode)
    face.save(path)
    expected = load_bundled().predict(path).probability
    assert ask_page(client, path) == pytest.approx(expected, abs=1e-3)


def test_page_judges_60_megapixels(client, tmp_path):
    path = tmp_path / "large.jpg"
    draw_face(1, 300).resize((10_000, 6_000)).save(path)
    label, heatmap, _ = client.predict(handle_file(path), api_name="/judge_photo")
    assert len(label["confidences"]) == 2
    assert Image.open(heatmap).size == (768, 768)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("text.jpg", b"no photo", "not a readable photo"), ("one.png", None, "1x1 pixels")],
)
def test_page_says_what_is_wrong_with_a_file(client, tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        Image.new("RGB", (1, 1)).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(path), api_name="/judge_photo")


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_page_reads_no_file_of_its_machine(client, tmp_path, meta):
    path = tmp_path / "face.png"
    draw_face(1, 300).save(path)
    endpoint = f"{client.src}gradio_api/call/judge_photo"
    started = requests.post(endpoint, json={"data": [{"path": str(path), **meta}]}, timeout=60)
    answer = requests.get(f"{endpoint}/{started.json()['event_id']}", timeout=60).text
    assert answer.startswith("event: error")
    assert "confidence" not in answer


def test_page_names_its_model_and_its_figures(client):
    figures = load_bundled().config.metrics["test"]
    text = shown_text(client)
    assert "Model in use: bundled model." in text
    assert f"{figures['roc_auc']['value']:.0%} of the cases" in text
    assert f"{figures['verdicts']['inconclusive']['value']:.0%} of its answers were" in text


def test_page_falls_back_to_the_bundled_model(space_python, tmp_path):
    settings = {"MODEL_ID": "someone/detector", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    with serve_page(space_python, tmp_path / "log.txt", **settings) as client:
        text = shown_text(client)
    assert re.search(r"Model in use: bundled model\. The model someone/detector is no folder", text)
    assert "not in the cache" in text
