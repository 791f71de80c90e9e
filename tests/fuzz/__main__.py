"""Fuzz by hand: `python -m tests.fuzz --minutes 10`, half in process, half through the API.

Prints how many files had which outcome; files that failed are written to a folder. Exit code 1 if
there are any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from tests.fuzz.api import Api
from tests.fuzz.harness import Report, Worker, run
from tests.fuzz.samples import KINDS
from tests.serving import serve_page


def main() -> int:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    report = Report()
    half = 30 * options.minutes
    with Worker() as worker:
        until = time.monotonic() + half
        for number in count():
            if time.monotonic() > until:
                break
            for kind in KINDS:
                run(worker, kind, options.seed, [number], report)
    log = Path(tempfile.mkdtemp(prefix="fuzz-")) / "page.txt"
    with serve_page(Path(sys.executable), log) as client:
        api = Api(client.src, log)
        until = time.monotonic() + half
        for number in count():
            if time.monotonic() > until:
                break
            api.run(options.seed, number, report)
    for kind, counts in report.counts.items():
        print(f"{kind}: {', '.join(f'{number} {outcome}' for outcome, number in counts.items())}")
    for path in report.save(log.parent / "failures"):
        print(f"failed: {path}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
