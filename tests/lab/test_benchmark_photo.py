import numpy as np
import pytest

from space.faces import load_face_finder
from space.photos import open_photo
from training.lab import benchmark_photo
from training.lab.benchmark_photo import (
    KERAS,
    OURS,
    STEPS,
    example_photos,
    framed_photos,
    photos_table,
    time_photos,
)


class Network:
    """Takes no time."""

    def predict(self, pixels: np.ndarray, verbose: int) -> np.ndarray:
        return np.full((len(pixels), 2), 0.5)


def test_every_example_shows_one_face():
    finder = load_face_finder()
    for content in example_photos(finder).values():
        assert len(finder.find(open_photo(content))) == 1


def test_framed_photos_differ_and_show_a_face(tmp_path):
    first, second = (open_photo(path) for path in framed_photos(2, tmp_path))
    assert not np.array_equal(first, second)
    assert len(load_face_finder().find(first)) == 1


@pytest.mark.slow
def test_steps_and_both_ways_are_timed(monkeypatch):
    monkeypatch.setattr(benchmark_photo, "build_like_bundled", Network)
    figures = time_photos(runs=1)
    for photo in figures["photos"].values():
        assert list(photo["steps"]) == list(STEPS)
        assert photo["times_faster"] == pytest.approx(
            photo[KERAS]["median"] / photo[OURS]["median"]
        )
    table = photos_table(figures)
    assert "| portrait, 300x300 |" in table
    assert len(table.splitlines()) == 2 + len(figures["photos"])
