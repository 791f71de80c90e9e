import gradio as gr
import pytest
from PIL import Image, PngImagePlugin

from space.detector import load_bundled
from space.faces import load_face_finder
from space.service import MAX_PHOTOS, Service
from tests.serving import SPACE


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(load_bundled(), load_face_finder(), notice="Another one was asked for.")


def test_models_are_named(service):
    text = service.describe_models()
    assert "bundled model. Another one was asked for." in text
    assert service.detector.config.variant in text
    assert "Haar cascade" in text


def test_too_many_photos_are_refused_before_any_is_judged(service):
    photos = [{"path": "/nowhere"}] * (MAX_PHOTOS + 1)
    with pytest.raises(gr.Error, match="at most 100"):
        service.judge_photos(photos)


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
    animated, still = (uploaded(tmp_path / name) for name in ("two.gif", "one.gif"))
    assert service.judge_photo(animated)["note"].startswith("Only the first")
    assert service.judge_photo(still)["note"] == ""


def test_every_answer_tells_what_the_file_says_of_itself(service, uploaded, clip, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a face\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    path = tmp_path / "made.png"
    Image.open(SPACE / "examples/portrait.jpg").save(path, pnginfo=info)
    answer = service.judge_photo(uploaded(path))
    assert [item["provenance"] for item in service.judge_photos([uploaded(path)])] == [
        answer["provenance"]
    ]
    generator = next(finding for finding in answer["provenance"] if finding["kind"] == "generator")
    assert (generator["claim"], generator["trust"]) == ("made by AI", "written by anybody")
    kinds = {finding["kind"] for finding in service.judge_video(uploaded(clip))["provenance"]}
    assert {"credentials", "software"} <= kinds
