"""What a detector takes: megabytes on the disk and in memory, milliseconds a photo."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from space.contract import MODEL_FILE
from space.detector import Detector
from space.photos import open_photo
from training.errors import UserError
from training.finder import load_finder
from training.measure.markdown import markdown_table
from training.ship.timing import time_in_turn

SPACE = Path(__file__).parents[2] / "space"
PORTRAIT = SPACE / "examples" / "portrait.jpg"
RUNS = 30
# A process that does what a program does, and then tells its largest memory in bytes.
PROGRAM = r"""
import re, resource, sys
from pathlib import Path
from detector import Detector
from faces import load_face_finder
detector = Detector.from_pretrained(sys.argv[1])
detector.judge(sys.argv[2], load_face_finder(detector.folder))
status = Path("/proc/self/status")
if status.exists():  # Linux counts what the process held that started it among `ru_maxrss`
    print(1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]))
else:
    unit = 1 if sys.platform == "darwin" else 1024
    print(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure_footprint(folder: Path, *, runs: int = RUNS) -> dict:
    """Weigh a model, and time it on the portrait among the page's examples.

    Args:
        folder: of an exported model.
        runs: how often each is timed.

    Returns:
        What JSON can hold: `model_megabytes`, the file; `network_milliseconds`, the median time of
        the network for one look at a face; `photo_milliseconds`, that of a photo from the file to
        the verdict, with a second look where it takes one; `memory_megabytes`, the most that a
        process held that judged it; and the `machine`.

    Raises:
        UserError: the process of its own failed.
    """
    detector, finder = Detector(folder), load_finder(folder)
    portrait = open_photo(PORTRAIT)
    crops = detector.crop_faces(portrait, finder.find(portrait))
    network, photo = time_in_turn(
        [
            partial(detector.judge_crops, crops[:1], second_look=False),
            partial(detector.judge, PORTRAIT, finder),
        ],
        runs,
    )
    return {
        "model_megabytes": (folder / MODEL_FILE).stat().st_size / 1e6,
        "network_milliseconds": network,
        "photo_milliseconds": photo,
        "memory_megabytes": _peak_memory(folder) / 1e6,
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count()},
    }


def footprint_table(figures: Mapping) -> str:
    """Return what `measure_footprint` found as a Markdown table; empty where nothing was
    measured."""
    found = figures.get("footprint")
    if not found:
        return ""
    machine = found["machine"]
    columns = {
        f"on {machine['architecture']}, {machine['cores']} cores": "footprint",
        "model file": f"{found['model_megabytes']:.1f} MB",
        "network, one look": f"{found['network_milliseconds']:.0f} ms",
        "portrait from file to verdict": f"{found['photo_milliseconds']:.0f} ms",
        "largest memory of a program that judges it": f"{found['memory_megabytes']:.0f} MB",
    }
    return markdown_table(tuple(columns), [tuple(columns.values())])


def _peak_memory(folder: Path) -> int:
    command = [sys.executable, "-c", PROGRAM, str(folder.resolve()), str(PORTRAIT)]
    done = subprocess.run(command, cwd=SPACE, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"The memory could not be measured: a process of its own failed ({last}).")
    return int(done.stdout.split()[-1])
