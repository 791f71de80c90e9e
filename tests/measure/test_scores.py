import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from space.contract import FINDER_FILE
from space.detector import BUNDLED, Detector, load_bundled
from space.faces import load_face_finder
from tests.serving import SPACE
from training.data.rows import open_framed, read_split
from training.errors import UserError
from training.measure.answers import ask, judge_with
from training.measure.scores import scores
from training.measure.stress import stress
from training.run import FACE, PHOTO


def framed_as(detector: Detector, framing: str) -> Detector:
    detector.config = replace(detector.config, framing=framing)
    return detector


def test_what_is_judged_follows_from_the_model(data, exported):
    photo = read_split(data, "validation")[0]
    photos = [replace(photo, face=face) for face in ("", "8 8 24 24")]
    detector = framed_as(Detector(exported), FACE)
    whole, cropped = scores(detector, photos)
    crops = [open_framed(photo, detector.config.crop_margin) for photo in photos]
    expected = [detector.predict(crop).probability for crop in crops]
    np.testing.assert_allclose([whole, cropped], expected, atol=1e-5)
    assert abs(whole - cropped) > 1e-3
    first, second = scores(framed_as(detector, PHOTO), photos)
    assert first == second  # the face is not looked at


def test_faces_are_judged_as_on_the_page(tmp_path):
    detector, portrait = load_bundled(), SPACE / "examples/portrait.jpg"
    judge = judge_with(detector)
    (judgement,) = detector.judge(portrait, load_face_finder())
    assert judge(portrait).probability == judgement.prediction.probability
    Image.new("RGB", (300, 200), "#8899aa").save(tmp_path / "wall.png")
    whole = detector.predict(tmp_path / "wall.png")
    assert judge(tmp_path / "wall.png").probability == whole.probability
    judge_whole = judge_with(framed_as(detector, PHOTO))
    assert judge_whole(portrait).probability != judgement.prediction.probability


def test_faces_are_found_by_what_lies_beside_the_model(data, tmp_path):
    model = shutil.copytree(BUNDLED, tmp_path / "model")
    (model / FINDER_FILE).write_bytes(b"cut off")
    detector = Detector(model)
    for measure in (
        lambda: judge_with(detector),
        lambda: ask(detector, []),
        lambda: stress(model, data),
    ):
        with pytest.raises(UserError, match=f"{model / FINDER_FILE} comes without"):
            measure()
