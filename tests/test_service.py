import base64
import csv
import io
import re
import shutil
import uuid
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.utils import get_upload_folder
from PIL import Image

from space.detector import load_bundled
from space.faces import load_face_finder
from space.service import MAX_PHOTOS, Service
from tests.serving import SPACE


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(load_bundled(), load_face_finder(), notice="Another one was asked for.")


@pytest.fixture
def uploaded():
    """Put files where the page puts uploads, and take them away again."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)

    def upload(path: Path) -> dict:
        return {"path": shutil.copy(path, folder), "orig_name": path.name}

    yield upload
    shutil.rmtree(folder)


def test_stopped_clip_ends_and_frees_its_place(service, uploaded, clip):
    told: list[float] = []
    request = SimpleNamespace(session_hash="one")

    def progress(share: float, desc: str) -> None:
        told.append(share)
        service.stop_video(SimpleNamespace(session_hash="another"))  # stops nobody else
        if len(told) == 3:
            service.stop_video(request)

    shown = service.show_video(uploaded(clip), request, progress)
    assert "Stopped." in shown
    assert len(told) == 3
    again = service.show_video(uploaded(clip), request, lambda share, desc: None)
    assert "1 person" in again


def test_judged_clip_leaves_no_trace_of_its_session(service, uploaded, clip):
    request = SimpleNamespace(session_hash="one")
    service.show_video(uploaded(clip), request, lambda share, desc: None)
    service.stop_video(request)  # there is nothing to stop: nothing happens
    assert service._stopped == {}


def test_models_are_named(service):
    text = service.describe_models()
    assert "bundled model. Another one was asked for." in text
    assert service.detector.config.variant in text
    assert "Haar cascade" in text


def test_too_many_photos_are_refused_before_any_is_judged(service):
    photos = [{"path": "/nowhere"}] * (MAX_PHOTOS + 1)
    with pytest.raises(gr.Error, match="at most 100"):
        service.judge_photos(photos)
    with pytest.raises(gr.Error, match="at most 100"):
        service.show_photos(photos)


def test_table_has_a_row_for_each_face_and_each_problem(service, uploaded, tmp_path):
    text = tmp_path / "<b>.jpg"
    text.write_text("no photo")
    portrait = uploaded(SPACE / "examples/portrait.jpg")
    shown = service.show_photos([portrait, uploaded(text)])
    assert shown.count("<tr>") == 3
    assert "portrait.jpg" in shown
    assert "&lt;b&gt;.jpg" in shown
    assert "<b>.jpg" not in shown


def test_faces_of_one_photo_can_be_told_apart_in_the_csv(service, uploaded, tmp_path):
    portrait = Image.open(SPACE / "examples/portrait.jpg")
    both = Image.new("RGB", (2 * portrait.width, portrait.height))
    for left in (0, portrait.width):
        both.paste(portrait, (left, 0))
    both.save(tmp_path / "=two.png")
    Image.new("RGB", (300, 200), "#8899aa").save(tmp_path / "wall.png")
    shown = service.show_photos([uploaded(tmp_path / "=two.png"), uploaded(tmp_path / "wall.png")])
    link = re.search(r'href="data:text/csv;base64,([^"]+)"', shown)[1]
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(link).decode(), newline="")))
    assert [(row["file"], row["face"]) for row in rows] == [
        ("'=two.png", "1"),
        ("'=two.png", "2"),
        ("wall.png", ""),
    ]
    boxes = [row["box (left top width height)"] for row in rows]
    assert len(set(boxes)) == 3
    assert boxes[2] == rows[2]["verdict"] == rows[2]["probability of fake"] == ""
    assert [row["reason"] for row in rows] == ["", "", "No face found."]
    assert {row["model"] for row in rows} == {"bundled model"}


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (None, "`photos[1]` is null"),
        (7, "`photos[1]` is a number"),
        ("x.jpg", "`photos[1]` is text"),
        ([{}], "`photos[1]` is a list"),
        ({}, "The `path` of `photos[1]` is null"),
        ({"path": 5}, "The `path` of `photos[1]` is a number"),
        ({"path": "/etc/passwd"}, "`photos[1]` was not uploaded"),
    ],
)
def test_a_wrong_item_is_named_and_stops_no_other(service, uploaded, item, error):
    portrait = uploaded(SPACE / "examples/portrait.jpg")
    before, wrong, after = service.judge_photos([portrait, item, portrait])
    assert len(before["faces"]) == len(after["faces"]) == 1
    assert wrong["error"].startswith(error)
    assert wrong["faces"] == []


def test_wrong_types_are_refused_by_name(service, uploaded):
    portrait = uploaded(SPACE / "examples/portrait.jpg")
    for flag in ("maybe", 1, None):
        with pytest.raises(gr.Error, match="`whole_picture` is "):
            service.judge_photo(portrait, flag)
        with pytest.raises(gr.Error, match="`whole_picture` is "):
            service.judge_photos([portrait], flag)
    for photos in (None, portrait, "x", 3):
        with pytest.raises(gr.Error, match=r"`photos` is .* no list"):
            service.judge_photos(photos)
    with pytest.raises(gr.Error, match="`photos` is empty"):
        service.judge_photos([])
    with pytest.raises(gr.Error, match="`clip` is null"):
        service.judge_video(None)


def test_of_an_animation_it_is_said_what_was_looked_at(service, uploaded, tmp_path):
    frames = [Image.new("RGB", (200, 200), colour) for colour in ("black", "white")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one.gif")
    two, one = (uploaded(tmp_path / name) for name in ("two.gif", "one.gif"))
    assert service.judge_photo(two)["note"].startswith("Only the first")
    assert service.judge_photo(one)["note"] == ""
    assert "Only the first" in service.show_photo(two)[0]
    assert "Only the first" in service.show_photos([two])


def test_nothing_given_shows_nothing(service):
    request = SimpleNamespace(session_hash="one")
    assert service.show_photo(None)[0] == ""
    assert service.show_photos(None) == service.show_photos([]) == ""
    assert service.show_video(None, request) == ""
