import pytest

from space.detector import load_bundled
from space.faces import load_face_finder
from space.video import judge_video
from tests.networks import small_networks
from training.lab.benchmark_network import build_like_bundled
from training.lab.benchmark_page import KERAS_PAGE, SPACE, running_page, time_start, write_clip

pytestmark = pytest.mark.slow


def test_page_is_timed_until_it_answers():
    assert time_start([str(SPACE / "app.py")]) > 0


def test_the_page_it_is_compared_with_answers_as_well(tmp_path):
    with small_networks():
        build_like_bundled().save(tmp_path / "network.keras")
    assert time_start(["-c", KERAS_PAGE, str(tmp_path / "network.keras")]) > 0


def test_a_page_that_ends_is_told():
    with pytest.raises(RuntimeError, match="did not start"), running_page(["-c", "pass"]):
        pass


def test_the_clip_shows_one_person(tmp_path):
    judged = judge_video(write_clip(tmp_path / "clip.mp4"), load_bundled(), load_face_finder())
    assert 9.5 < judged.seconds < 10.5
    assert len(judged.people) == 1
