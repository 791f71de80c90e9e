import pytest

from space.detector import load_bundled
from space.faces import load_face_finder
from space.video import judge_video
from training.lab.benchmark_page import SPACE, running_page, time_start, write_clip

pytestmark = pytest.mark.slow


def test_page_is_timed_until_it_answers():
    assert time_start([str(SPACE / "app.py")]) > 0


def test_a_page_that_ends_is_told():
    with pytest.raises(RuntimeError, match="did not start"), running_page(["-c", "pass"]):
        pass


def test_the_clip_shows_one_person(tmp_path):
    judged = judge_video(write_clip(tmp_path / "clip.mp4"), load_bundled(), load_face_finder())
    assert 9.5 < judged.seconds < 10.5
    assert len(judged.people) == 1
