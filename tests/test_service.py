import shutil
import uuid
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.utils import get_upload_folder

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


def test_nothing_given_shows_nothing(service):
    request = SimpleNamespace(session_hash="one")
    assert service.show_photo(None)[0] == ""
    assert service.show_photos(None) == service.show_photos([]) == ""
    assert service.show_video(None, request) == ""
