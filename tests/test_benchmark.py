import json

from space.detector import load_bundled
from space.faces import load_face_finder
from space.service import Service
from space.video import judge_video
from training.benchmark import PORTRAIT, TITLES, speed_table, time_page_start, write_clip
from training.tables import RESULTS


def test_page_is_timed_until_it_answers():
    assert time_page_start() > 0


def test_what_is_timed_shows_one_face(tmp_path):
    service = Service(load_bundled(), load_face_finder())
    html, faces = service.photo_html(PORTRAIT.read_bytes(), PORTRAIT.name)
    assert faces == 1
    assert "Save a report" in html
    judged = judge_video(write_clip(tmp_path / "clip.mp4"), service.detector, service.finder)
    assert 9.5 < judged.seconds < 10.5
    assert len(judged.people) == 1


def test_table_has_a_row_for_every_figure():
    figures = json.loads((RESULTS / "benchmark.json").read_text())
    assert len(speed_table(figures).splitlines()) == 2 + len(TITLES)
