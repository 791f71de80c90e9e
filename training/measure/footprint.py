"""What a detector costs: megabytes on disk and in memory, milliseconds per photo."""

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
# Judges a photo as a user's program does, then prints the peak memory of its process in bytes.
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
    """Return a model's size, memory, and times on the portrait among the page's examples.

    Args:
        folder: folder of an exported model.
        runs: how often each call is timed.

    Returns:
        JSON-serialisable: `model_megabytes`, the size of the file; `network_milliseconds`, the
        network's median time for one look at a face; `photo_milliseconds`, the median time of a
        photo from file to verdict, including a second look if it takes one; `memory_megabytes`, the
        peak memory of a process that judges it; and the `machine`.

    Raises:
        UserError: that process failed.
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
    """Return the results of `measure_footprint` as a Markdown table; empty if not measured."""
    footprint = figures.get("footprint")
    if not footprint:
        return ""
    machine = footprint["machine"]
    columns = {
        f"on {machine['architecture']}, {machine['cores']} cores": "footprint",
        "model file": f"{footprint['model_megabytes']:.1f} MB",
        "network, one look": f"{footprint['network_milliseconds']:.0f} ms",
        "portrait from file to verdict": f"{footprint['photo_milliseconds']:.0f} ms",
        "largest memory of a program that judges it": f"{footprint['memory_megabytes']:.0f} MB",
    }
    return markdown_table(tuple(columns), [tuple(columns.values())])


def _peak_memory(folder: Path) -> int:
    command = [sys.executable, "-c", PROGRAM, str(folder.resolve()), str(PORTRAIT)]
    done = subprocess.run(command, cwd=SPACE, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"The memory could not be measured: a process of its own failed ({last}).")
    return int(done.stdout.split()[-1])
