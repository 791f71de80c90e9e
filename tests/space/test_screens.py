"""What people see of the page, without a browser."""

import base64
import csv
import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, PngImagePlugin

from space.detector import load_bundled
from space.faces import load_face_finder
from space.lean_gradio import gr
from space.screens import Screen, Screens
from space.service import MAX_PHOTOS, Service
from tests.serving import SPACE

PORTRAIT = SPACE / "examples/portrait.jpg"
VISITOR = SimpleNamespace(session_hash="one")


@pytest.fixture(scope="module")
def screens() -> Screens:
    return Screens(Service(load_bundled(), load_face_finder()))


def last(shown: Iterable[Screen]) -> str:
    """Return the final answer; the inputs must be hidden, and the way back visible."""
    *_, (start, back, answer, _) = shown
    assert start["visible"] == "hidden"
    assert back["visible"] is True
    return answer


def in_csv(answer: str) -> list[dict]:
    link = re.search(r'href="data:text/csv;base64,([^"]+)"', answer)[1]
    return list(csv.DictReader(io.StringIO(base64.b64decode(link).decode(), newline="")))


def in_report(answer: str) -> str:
    return base64.b64decode(re.search('data:text/html;base64,([^"]+)', answer)[1]).decode()


def test_nothing_given_shows_the_first_screen(screens):
    for shown in (
        screens.photos(None, VISITOR),
        screens.photos([], VISITOR),
        screens.clip(None, VISITOR),
    ):
        ((start, back, answer, extra),) = shown
        assert (start["visible"], back["visible"], answer, extra["visible"]) == (
            True,
            False,
            "",
            False,
        )
    for unchanged in (screens.photo(None), screens.whole_picture(None)):
        assert list(unchanged) == [gr.skip()]


def test_a_photo_says_that_it_is_worked_on_and_is_answered(screens, uploaded):
    first, final = screens.photo(uploaded(PORTRAIT))
    assert "Looking for faces" in first[2]
    assert final[2].count("<article") == 1
    assert final[3]["visible"] is False
    assert "SHA-256 of portrait.jpg" in in_report(final[2])
    assert "ai-edge-litert " in in_report(final[2])  # and its version


def test_no_face_offers_to_judge_the_whole_picture(screens, uploaded, tmp_path):
    Image.new("RGB", (300, 200), "#8899aa").save(tmp_path / "wall.png")
    wall = uploaded(tmp_path / "wall.png")
    *_, (_, _, answer, whole) = screens.photo(wall)
    assert "No face found" in answer
    assert whole["visible"] is True
    assert "without looking for a face" in last(screens.whole_picture(wall))


def test_what_is_wrong_is_said_in_the_place_of_the_answer(screens, uploaded, tmp_path):
    (tmp_path / "photo.jpg").write_text("no photo")
    text = uploaded(tmp_path / "photo.jpg")
    assert "not a readable photo" in last(screens.photo(text))
    assert "This clip cannot be judged" in last(screens.clip(text, VISITOR))
    too_many = [{"path": "/nowhere"}] * (MAX_PHOTOS + 1)
    assert "at most 100" in last(screens.photos(too_many, VISITOR))
    assert "was not uploaded" in last(screens.photo({"path": "/etc/passwd"}))


@pytest.mark.parametrize(
    ("tab", "file", "said"),
    [
        ("photo", ["<a>.jpg", 250_000_000], "&lt;a&gt;.jpg has 250 MB: choose one of at most 100"),
        ("photo", ["clip.mp4", 9], "clip.mp4 is not a photo"),
        ("video", ["letter.pdf", 9], "letter.pdf is not an MP4, MOV or WebM video"),
        ("photo", "camera", "Allow it in the browser"),
        ("photo", "clipboard", "Copy a picture"),
        ("video", "lost", "choose the file again"),
        ("photo", "else", "The file is not a photo"),
        ("photos", None, "The file is not a photo"),  # from a foreign script
    ],
)
def test_files_that_are_not_sent_are_refused_in_the_place_of_the_answer(screens, tab, file, said):
    assert said in last([screens.refused(tab, file)])


def test_a_mistake_of_the_program_is_said_too(screens, uploaded, monkeypatch, caplog):
    monkeypatch.setattr("space.screens.answer", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR):
        assert "try another file" in last(screens.photo(uploaded(PORTRAIT)))
    assert "ZeroDivisionError" in caplog.text


def test_stopped_clip_ends_and_frees_its_place(screens, uploaded, clip):
    shown = screens.clip(uploaded(clip), VISITOR)
    updates = [next(shown)[2], next(shown)[2]]
    screens.stop(SimpleNamespace(session_hash="another"))  # stops nobody else
    updates.append(next(shown)[2])
    screens.stop(VISITOR)
    *_, (_, _, answer, stop) = shown
    assert all("<progress" in update for update in updates)
    assert "Stopped" in answer
    assert stop["visible"] is False
    assert "this person" in last(screens.clip(uploaded(clip), VISITOR))
    assert screens._stopped == {}


def test_a_visitor_who_leaves_ends_the_judging(screens, uploaded, clip):
    shown = screens.clip(uploaded(clip), VISITOR)
    next(shown)
    next(shown)
    shown.close()
    assert screens._stopped == {}


def test_example_clip_is_judged(screens):
    answer = last(screens.example_clip(str(SPACE / "examples/portrait-clip.mp4"), VISITOR))
    assert "this person" in answer
    assert "SHA-256 of portrait-clip.mp4" in in_report(answer)


def test_table_has_a_row_for_each_face_and_each_problem(screens, uploaded, tmp_path):
    (tmp_path / "<b>.jpg").write_text("no photo")
    shown = last(screens.photos([uploaded(PORTRAIT), uploaded(tmp_path / "<b>.jpg")], VISITOR))
    page = shown.split("data:text/html")[0]
    assert page.count("<tr ") == 2
    assert "portrait.jpg" in page
    assert "&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    assert "SHA-256 of portrait.jpg" in in_report(shown)


def test_rows_appear_while_others_are_judged(screens, uploaded, monkeypatch):
    monkeypatch.setattr("space.screens.REFRESH", -1.0)
    shown = [screen[2] for screen in screens.photos([uploaded(PORTRAIT)] * 3, VISITOR)]
    assert [answer.count("<tr ") for answer in shown] == [0, 1, 2, 3]
    assert "1 of 3 photos judged" in shown[1]


def test_a_stopped_table_keeps_what_was_judged(screens, uploaded, monkeypatch):
    monkeypatch.setattr("space.screens.REFRESH", -1.0)
    shown = screens.photos([uploaded(PORTRAIT)] * 3, VISITOR)
    next(shown)
    next(shown)
    screens.stop(VISITOR)
    assert last(shown).split("data:text")[0].count("<tr ") == 2


def test_faces_of_one_photo_can_be_told_apart_in_the_csv(screens, uploaded, tmp_path):
    portrait = Image.open(PORTRAIT)
    both = Image.new("RGB", (2 * portrait.width, portrait.height))
    for left in (0, portrait.width):
        both.paste(portrait, (left, 0))
    both.save(tmp_path / "=two.png")
    Image.new("RGB", (300, 200), "#8899aa").save(tmp_path / "wall.png")
    files = [uploaded(tmp_path / name) for name in ("=two.png", "wall.png")]
    answer = last(screens.photos([*files, files[0]], VISITOR))
    *rows, _, _ = in_csv(answer)
    assert in_report(answer).count("SHA-256 of =two.png") == 2  # two files may have one name
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


def test_of_an_animation_it_is_said_what_was_looked_at(screens, uploaded, tmp_path):
    frames = [Image.new("RGB", (200, 200), colour) for colour in ("black", "white")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    two = uploaded(tmp_path / "two.gif")
    *_, (_, _, answer, _) = screens.photo(two)
    assert "Only the first" in answer
    assert "Only the first" in last(screens.photos([two], VISITOR))


def test_what_a_file_says_of_itself_comes_first_where_it_says_something(
    screens, uploaded, tmp_path
):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a face\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    path = tmp_path / "made.png"
    Image.open(PORTRAIT).save(path, pnginfo=info)
    answer = last(screens.photo(uploaded(path)))
    assert answer.index("made by AI") < answer.index('class="headline')
    assert "made by AI" in in_report(answer)
    several = last(screens.photos([uploaded(path)], VISITOR))
    assert "<td>made by AI (written by anybody)</td>" in several
    assert in_csv(several)[0]["the file says"] == "made by AI (written by anybody)"
    silent = last(screens.photo(uploaded(PORTRAIT)))
    assert silent.index('class="headline') < silent.index("does not say how it was made")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("portrait.jpg", "fake"),
        ("portrait-mouth-replaced.jpg", "real"),
        ("generated-face.jpg", "real"),
        ("portrait-clip.mp4", "fake"),
    ],
)
def test_examples_get_the_right_answer_or_an_honest_cannot_tell(screens, name, wrong):
    path: Path = SPACE / "examples" / name
    service = screens.service
    if path.suffix == ".mp4":
        from space.video import judge_video

        (judged,) = judge_video(path, service.detector, service.finder).people
        verdict = judged.verdict
    else:
        (judged,) = service.judge(path, False)
        verdict = judged.prediction.verdict
    assert verdict != wrong
