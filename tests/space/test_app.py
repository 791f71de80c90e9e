"""The page in a process of its own, with only the packages of `space/requirements.txt`."""

import html
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import requests
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from space.detector import load_bundled
from space.faces import load_face_finder
from space.verdicts import VERDICTS
from tests.drawing import draw_face
from tests.serving import SPACE, ask_page, serve_page, shown_text

FILE_META = {"_type": "gradio.FileData"}


@pytest.fixture(scope="module")
def page_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "log.txt"


@pytest.fixture(scope="module")
def client(space_python: Path, page_log: Path) -> Iterator[Client]:
    with serve_page(space_python, page_log) as client:
        yield client


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """A copy of the example photo of a real face."""
    return Path(shutil.copy(SPACE / "examples/portrait.jpg", tmp_path))


@pytest.fixture
def uploaded_portrait(client: Client, portrait: Path) -> dict:
    with portrait.open("rb") as file:
        address = f"{client.src}gradio_api/upload"
        (path,) = requests.post(address, files={"files": file}, timeout=60).json()
    return {"path": path, "meta": FILE_META}


def call(client: Client, endpoint: str, *data: object) -> str:
    """Call an endpoint over plain HTTP, without the client's checks; return the answer."""
    address = f"{client.src}gradio_api/call/{endpoint}"
    response = requests.post(address, json={"data": data}, timeout=60)
    if response.status_code != 200:
        return f"{response.status_code} {response.text}"
    return requests.get(f"{address}/{response.json()['event_id']}", timeout=60).text


def test_environment_has_no_training_packages(space_python):
    names = ("tensorflow", "keras", "sklearn", "matplotlib", "gradio", "ai_edge_litert", "cv2")
    code = (
        f"from importlib.util import find_spec; print([one for one in {names} if find_spec(one)])"
    )
    command = [space_python, "-c", code]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert output == "['gradio', 'ai_edge_litert', 'cv2']\n"


def test_photo_is_judged_face_by_face(client, portrait):
    answer = ask_page(client, portrait, whole_picture=False)
    (expected,) = load_bundled().judge(portrait, load_face_finder())
    (face,) = answer["faces"]
    assert face["probability"] == pytest.approx(expected.prediction.probability, abs=1e-6)
    assert face["verdict"] == expected.prediction.verdict
    assert face["box"] == pytest.approx(expected.face.box, abs=0.1)
    assert np.array(face["heatmap"]).shape == expected.prediction.heatmap.shape
    assert face["meaning"]["photos"] == expected.prediction.meaning.photos
    assert not face["too_small"]
    assert answer["sentence"] == f"One face: {VERDICTS[face['verdict']].lower()}."
    assert answer["file"] == "portrait.jpg"
    assert answer["model"] == "bundled model"


def test_no_face_is_an_answer_and_the_whole_picture_can_be_asked_for(client, tmp_path):
    path = tmp_path / "wall.png"
    Image.new("RGB", (300, 200), "#8899aa").save(path)
    answer = ask_page(client, path, whole_picture=False)
    assert answer["sentence"] == "No face found."
    assert answer["faces"] == []
    (whole,) = ask_page(client, path)["faces"]
    assert whole["box"] is None
    assert whole["probability"] == pytest.approx(load_bundled().predict(path).probability, abs=1e-6)


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
    assert ask_page(client, path)["faces"][0]["probability"] == pytest.approx(expected, abs=1e-6)


def test_heic_is_read(client, portrait):
    path = portrait.with_suffix(".heic")
    pillow_heif.register_heif_opener()
    Image.open(portrait).save(path, quality=90)
    assert len(ask_page(client, path, whole_picture=False)["faces"]) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.jpg", b"no photo", "not a readable photo"),
        ("program.jpg", b"MZ" + bytes(200), "not a readable photo"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable photo"),
        ("one.png", (1, 1), "1x1 pixels"),
        ("bomb.png", (20_000, 20_000), "400.0 megapixels"),
        ("cut.jpg", None, "damaged"),
    ],
)
def test_page_says_what_is_wrong_with_a_file(client, portrait, tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, tuple):
        Image.new("1", content).save(path)
    else:
        path.write_bytes(content or portrait.read_bytes()[:5000])
    with pytest.raises(AppError, match=message):
        ask_page(client, path)


def test_several_photos_are_judged_in_one_call(client, portrait, tmp_path):
    bad = tmp_path / "text.jpg"
    bad.write_text("no photo")
    files = [handle_file(portrait), handle_file(bad)]
    good, refused = client.predict(files, False, api_name="/judge_photos")
    assert (good["file"], len(good["faces"]), good["error"]) == ("portrait.jpg", 1, None)
    assert refused["faces"] == []
    assert "not a readable photo" in refused["error"]


def test_clip_is_judged_person_by_person(client, clip):
    answer = client.predict(handle_file(clip), api_name="/judge_video")
    assert answer["sentence"].startswith("1 person")
    (person,) = answer["people"]
    assert 0 < person["probability"] < 1
    assert [time for time, _ in person["scores"]] == sorted(time for time, _ in person["scores"])


def test_what_is_no_clip_is_refused(client, portrait):
    with pytest.raises(AppError, match="video"):
        client.predict(handle_file(portrait), api_name="/judge_video")


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
@pytest.mark.parametrize(
    "path", ["{machine}", "{upload}/../../etc/passwd", "/etc/passwd", "", "\0", None]
)
def test_page_reads_no_file_of_its_machine(client, portrait, path, meta):
    if path:
        folder = tempfile.gettempdir() + "/gradio"
        path = path.format(machine=portrait, upload=folder)
    for endpoint, data in (
        ("judge_photo", [{"path": path, **meta}, True]),
        ("judge_photos", [[{"path": path, **meta}], True]),
        ("judge_video", [{"path": path, **meta}]),
    ):
        answer = call(client, endpoint, *data)
        assert "probability" not in answer
        assert "event: error" in answer or "upload" in answer


@pytest.mark.parametrize(
    ("endpoint", "data", "words"),
    [
        ("judge_photo", [None, False], "`photo` is null"),
        ("judge_photo", [{"path": "a", "orig_name": 5, "meta": FILE_META}, False], "`orig_name`"),
        ("judge_photo", [{"path": "a\0b", "meta": FILE_META}, False], "was not uploaded"),
        ("judge_photo", ["{portrait}", "maybe"], "`whole_picture` is text"),
        ("judge_photo", [], "0 of the 2 inputs"),
        ("judge_photos", [None, False], "`photos` is null"),
        ("judge_photos", [["{portrait}", None], False], "`photos[1]` is null"),
        ("judge_video", [[]], "`clip` is a list"),
        ("judge_nothing", [], "no such endpoint"),
    ],
)
def test_wrong_calls_are_refused_in_words(client, uploaded_portrait, endpoint, data, words):
    def filled(item: object) -> object:
        if isinstance(item, list):
            return [filled(entry) for entry in item]
        return uploaded_portrait if item == "{portrait}" else item

    assert words in call(client, endpoint, *filled(data))


def test_gradios_client_is_refused_in_words_too(client, portrait):
    with pytest.raises(AppError, match="`whole_picture` is text"):
        client.predict(handle_file(portrait), "maybe", api_name="/judge_photo")
    (answer,) = client.predict([None], False, api_name="/judge_photos")
    assert answer["error"].startswith("`photos[0]` is null")


def test_a_name_that_begins_with_a_dot_is_judged(client, portrait):
    hidden = portrait.rename(portrait.with_name(".portrait.jpg"))
    answer = client.predict(handle_file(hidden), False, api_name="/judge_photo")
    assert (answer["file"], len(answer["faces"])) == (".portrait.jpg", 1)


def test_no_call_ended_in_a_traceback(page_log):
    assert "Traceback" not in page_log.read_text()


def test_no_address_is_fetched(client):
    requested = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_port}/face.jpg"
        for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
            for key in ("path", "url"):
                data = [{"path": "", key: address, **meta}, True]
                answer = call(client, "judge_photo", *data)
                assert "probability" not in answer
        server.shutdown()
    assert requested == []


def test_page_says_how_good_the_model_is(client):
    figures = load_bundled().config.metrics["test"]
    text = html.unescape(shown_text(client))
    assert "Model in use: bundled model." in text
    assert "What it was trained on" in text
    assert f"Measured on {figures['photos']} photos" in text
    assert f"<td>{figures['verdicts']['inconclusive']['value']:.0%} <small>" in text
    assert "Haar cascade" in text  # the only one in tests: the page must name the one it uses


def test_examples_are_named_for_what_they_are(client):
    buttons = [part["props"] for part in client.config["components"] if part["type"] == "button"]
    names = {button.get("elem_id") or "" for button in buttons}
    shown = {name for name in names if name.startswith("example-")}
    files = [path for path in (SPACE / "examples").iterdir() if path.suffix not in (".md", ".txt")]
    assert shown == {f"example-{path.stem}" for path in files}
    assert {"A real portrait", "Made by a generator"} <= {button["value"] for button in buttons}


def test_endpoints_describe_themselves(client):
    info = requests.get(f"{client.src}gradio_api/info", timeout=60).json()["named_endpoints"]
    assert set(info) == {"/judge_photo", "/judge_photos", "/judge_video"}
    answer = info["/judge_photo"]["returns"][0]["type"]["properties"]
    assert {"sentence", "faces", "model"} <= answer.keys()
    assert {"verdict", "probability", "box"} <= answer["faces"]["items"]["properties"].keys()


def test_fifty_calls_at_once_are_all_answered(client, portrait):
    answers: list[dict] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask_page(client, portrait)))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer["faces"][0]["probability"] for answer in answers}) == 1
    assert len(answers) == 50


def test_page_falls_back_to_the_bundled_model(space_python, tmp_path):
    settings = {"MODEL_ID": "someone/detector", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    with serve_page(space_python, tmp_path / "log.txt", **settings) as client:
        text = shown_text(client)
    assert re.search(r"Model in use: bundled model\. The model someone/detector is not a f", text)
    assert "not in the cache" in text
