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
    """Stands in for a `ScorerConfig` and its scorer; photos with some names kill the process."""

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


@pytest.mark.slow
def test_death_costs_no_row_but_that_of_a_photo_that_kills_twice(tmp_path):
    names = ["a", "once", "b", "c", "d", "deadly"]
    rows = scored(chunks_of(*names), Double(tmp_path / "marker"))
    (error,) = (row.pop("error") for row in rows if "error" in row)
    assert "died twice (exit code -9)" in error
    scored_rows = [{"file": name, "face": face} for name in names[:-1] for face in range(2)]
    assert rows == [*scored_rows, {"file": "deadly"}]


def test_process_that_cannot_load_the_model_ends_the_run(tmp_path):
    with pytest.raises(UserError, match=r"ended while it loaded the model \(exit code 7\)"):
        scored(chunks_of("a"), Double(tmp_path / "unloadable"))


def test_input_is_not_read_far_ahead_and_interrupts_are_for_the_main_process(tmp_path):
    names = [*map(str, range(58)), "interrupted", "last"]
    taken = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal taken
        for chunk in chunks_of(*names):
            taken += 1
            yield chunk

    done, ahead = [], 0
    for _, rows in score_chunks(chunks(), Double(tmp_path / "marker"), workers=2):
        ahead = max(ahead, taken - len(done))
        done.append(rows)
    assert len(done) == 20
    assert ahead <= 3  # one in each process, and the next
    assert sorted(row["file"] for rows in done for row in rows) == sorted(names * 2)
    assert not any("error" in row for rows in done for row in rows)
