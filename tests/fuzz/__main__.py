"""Fuzz by hand: `python -m tests.fuzz --minutes 10`, half in process, half through the API.

Prints how many files had each outcome, and writes the files that failed to a folder. The exit code
is 1 if any failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path

from tests.fuzz.api import Api
from tests.fuzz.harness import Report, Worker, run
from tests.fuzz.samples import KINDS
from tests.serving import serve_page


def main() -> int:
    """Fuzz until the time is up; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    half = 30 * options.minutes
    return _in_process(options.seed, half, folder) | _through_api(options.seed, half, folder)


def _in_process(seed: int, seconds: float, folder: Path) -> int:
    report = Report()
    with Worker() as worker:
        for number in _numbers(seconds):
            for kind in KINDS:
                run(worker, kind, seed, [number], report)
    return _print(report, folder / "process")


def _through_api(seed: int, seconds: float, folder: Path) -> int:
    report, log = Report(), folder / "page.txt"
    with serve_page(Path(sys.executable), log) as client:
        api = Api(client.src, log)
        for number in _numbers(seconds):
            api.run(seed, number, report)
    return _print(report, folder / "api")


def _numbers(seconds: float) -> Iterator[int]:
    until = time.monotonic() + seconds
    return takewhile(lambda _: time.monotonic() < until, count())


def _print(report: Report, folder: Path) -> int:
    for kind, counts in report.counts.items():
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
        print(f"{kind}: {outcomes}", flush=True)
    for path in report.save(folder):
        print(f"failed: {path}", flush=True)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
