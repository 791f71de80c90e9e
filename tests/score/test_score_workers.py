import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from training.errors import UserError
from training.score.inputs import Chunk, Photo
from training.score.rows import Row
from training.score.workers import score_chunks


@dataclass(frozen=True)
class Double:
    """Stands for a `ScorerConfig` and for its scorer; photos with some names end the process."""

    marker: Path

    def load(self) -> "Double":
        if self.marker.name == "unloadable":
            os._exit(7)
        return self

    def rows(self, photo: Photo) -> list[Row]:
        first_time = photo.name == "once" and not self.marker.exists()
        if first_time:
            self.marker.touch()
        if first_time or photo.name == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        if photo.name == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        return [{"file": photo.name, "face": face} for face in range(2)]

    def row(self, name: str, **values: object) -> Row:
        return {"file": name, **values}


def chunks_of(*names: str, size: int = 3) -> list[Chunk]:
    photos = [Photo(name, name) for name in names]
    starts = range(0, len(photos), size)
    return [Chunk(n, photos[start : start + size]) for n, start in enumerate(starts)]


def scored(chunks: list[Chunk], double: Double) -> list[Row]:
    """Return the rows in the order of the chunks."""
    done = {chunk.number: rows for chunk, rows in score_chunks(iter(chunks), double, workers=2)}
    return [row for chunk in chunks for row in done[chunk.number]]


def test_death_costs_no_row_and_doubles_none(tmp_path):
    names = ["a", "once", "b", "c", "d"]
    rows = scored(chunks_of(*names), Double(tmp_path / "marker"))
    assert rows == [{"file": name, "face": face} for name in names for face in range(2)]


def test_photo_that_kills_twice_is_an_error_and_the_others_are_scored(tmp_path):
    rows = scored(chunks_of("deadly", "a", "b", "c", "deadly"), Double(tmp_path / "marker"))
    assert [row["file"] for row in rows] == ["deadly", "a", "a", "b", "b", "c", "c", "deadly"]
    errors = [row["error"] for row in rows if "error" in row]
    assert len(errors) == 2
    assert all("died (exit code -9)" in error for error in errors)


def test_interrupt_is_for_the_main_process_alone(tmp_path):
    rows = scored(chunks_of("a", "interrupted", "b"), Double(tmp_path / "marker"))
    assert [row["file"] for row in rows] == ["a", "a", "interrupted", "interrupted", "b", "b"]


def test_process_that_cannot_load_the_model_ends_the_run(tmp_path):
    with pytest.raises(UserError, match=r"ended while it loaded the model \(exit code 7\)"):
        scored(chunks_of("a"), Double(tmp_path / "unloadable"))


def test_input_is_not_read_far_ahead(tmp_path):
    taken = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal taken
        for chunk in chunks_of(*map(str, range(60))):
            taken += 1
            yield chunk

    done = ahead = 0
    for _ in score_chunks(chunks(), Double(tmp_path / "marker"), workers=2):
        ahead = max(ahead, taken - done)
        done += 1
    assert done == 20
    assert ahead <= 3  # one in each process, one to come
