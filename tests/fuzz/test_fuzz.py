"""Each decoder gets damaged files for about a second, the same in every run."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from space.detector import load_bundled
from tests.fuzz import harness
from tests.fuzz.api import Api
from tests.fuzz.harness import Report, Worker, case, run
from tests.fuzz.mutate import with_checksums
from tests.fuzz.samples import KINDS, samples
from tests.serving import serve_page

SEED = 20261128
CASES = {"jpeg": 80, "png": 80, "webp": 80, "heic": 60, "mp4": 12, "webm": 12}
CALLS = 12


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_samples_are_judged(worker, kind):
    assert [worker.outcome(kind, content) for content in samples(kind)] == ["judged"] * len(
        samples(kind)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_judged_or_refused(worker, kind):
    report = Report()
    run(worker, kind, SEED, range(CASES[kind]), report)
    assert report.failures == []
    assert report.counts[kind]["refused"] > 0


def test_the_same_seed_damages_alike():
    assert case("png", 1, 2) == case("png", 1, 2)
    assert len({case("png", 1, number) for number in range(20)}) == 20


def test_damage_gets_past_the_checksums_of_a_png():
    cases = [case("png", SEED, number) for number in range(CASES["png"])]
    intact = [content for content in cases if content == with_checksums(content)]
    assert len(cases) / 2 < len(intact) < len(cases)
    sample = samples("png")[0]
    assert with_checksums(sample[:29] + bytes(4) + sample[33:]) == sample  # the header's checksum
    assert with_checksums(sample[:40]) == sample[:40]
    assert with_checksums(b"\xff\xd8" + sample) == b"\xff\xd8" + sample


@pytest.mark.slow
def test_through_the_api_every_answer_has_faces_or_words(tmp_path):
    report = Report()
    log = tmp_path / "log.txt"
    with serve_page(Path(sys.executable), log) as client:
        api = Api(client.src, log)
        for number in range(CALLS):
            api.run(SEED, number, report)
    assert report.failures == []
    assert report.counts["api call"].total() == CALLS


def _misbehave(kind: str, content: bytes, _: object) -> str:
    """Die, hang or judge, as the content demands."""
    if content == b"die":
        os.abort()
    if content == b"hang":
        time.sleep(1000)
    return "judged"


@pytest.mark.slow
def test_a_worker_that_dies_or_hangs_is_noticed_and_replaced(tmp_path):
    report = Report()
    with Worker(_misbehave, patience=3) as worker:
        for content in (b"fine", b"die", b"fine", b"hang", b"fine"):
            report.add("jpeg", worker.outcome("jpeg", content), content)
    assert report.counts["jpeg"] == {"judged": 3, "crash": 1, "hang": 1}
    assert [path.read_bytes() for path in report.save(tmp_path)] == [b"die", b"hang"]


@pytest.mark.parametrize(
    ("look", "outcome"),
    [
        (lambda: np.random.default_rng().random(), "unstable"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_chance_and_unknown_errors_are_noticed(monkeypatch, look, outcome):
    monkeypatch.setattr(harness, "_look_at_photo", lambda content, detector: look())
    assert harness.look_twice("jpeg", b"", None) == outcome


def test_what_another_clip_showed_is_noticed(monkeypatch):
    sparse, last = harness._sparse, []

    def dirty(path: str, apart: float) -> list[np.ndarray]:
        pictures = sparse(path, apart)
        if last:
            pictures[0][:8] = last.pop()[:8]
        last.append(pictures[-1])
        return pictures

    (sample,) = samples("webm")
    assert harness.look_twice("webm", sample, load_bundled(threads=1)) == "judged"
    monkeypatch.setattr(harness, "_sparse", dirty)
    assert harness.look_twice("webm", sample, load_bundled(threads=1)) == "leak"
