"""Measure how scoring scales: speed by the number of processes, memory by the collection's size."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import matplotlib
import numpy as np

from training.lab.benchmark_photo import framed_photos
from training.measure.markdown import markdown_table

matplotlib.use("Agg")

PHOTOS = 50  # different photos; collections repeat them
FEW, MANY = 400, 2000  # photos in the two runs whose difference gives the speed
SIZES = (1_000, 10_000, 100_000)
POLL = 0.2  # s between two readings of the memory
MILLION = 1_000_000


def measure_growth(
    workers: Sequence[int], sizes: Sequence[int] = SIZES, few: int = FEW, many: int = MANY
) -> dict:
    """Score collections of photos with one face each in new processes, and return the cost.

    Args:
        workers: numbers of processes to compare.
        sizes: sizes of the collections that memory is measured with.
        few, many: sizes of the two collections whose difference gives the speed, so that the time
            to start does not count.

    Returns:
        A JSON-compatible dict: `speed`, with `workers`, `photos_per_second` and `start_seconds`;
        `memory`, with `photos`, `main_megabytes` and `worker_megabytes` (peak resident memory of
        the main process, and of the largest worker); and `megabytes_per_million`, the slope of
        their sum over all processes from the second size to the last.
    """
    with tempfile.TemporaryDirectory() as folder:
        photos = framed_photos(PHOTOS, Path(folder))
        speed = [_speed(photos, number, few, many) for number in workers]
        memory = [
            {"photos": size, **_score(photos, size, max(workers))[1]} for size in sorted(sizes)
        ]
    return {
        "speed": speed,
        "memory": memory,
        "megabytes_per_million": _slope(memory, max(workers)),
    }


def speed_rows(figures: Mapping) -> str:
    """Return photos a second by processes as a Markdown table, with what a million photos take."""
    first = figures["speed"][0]["photos_per_second"]
    rows = []
    for row in figures["speed"]:
        rate = row["photos_per_second"]
        hours = MILLION / rate / 3600
        rows.append(
            (
                str(row["workers"]),
                f"{rate:.0f}",
                f"{rate / first:.2f}",
                f"{row['start_seconds']:.1f} s",
                f"{hours:.1f} h",
                f"{hours / 10:.2f} h",
            )
        )
    head = ("processes", "photos a second", "times as fast as one", "to start")
    return markdown_table((*head, "a million photos", "on ten such machines"), rows)


def memory_rows(figures: Mapping) -> str:
    """Return memory by the size of the collection as a Markdown table, with its slope."""
    rows = [
        (
            f"{row['photos']:,}",
            f"{row['main_megabytes']:.0f} MB",
            f"{row['worker_megabytes']:.0f} MB",
        )
        for row in figures["memory"]
    ]
    table = markdown_table(("photos", "main process", "each that scores"), rows)
    slope = figures["megabytes_per_million"]
    if slope is None:
        return table
    return f"{table}\n\nAll processes together grow by {slope:.0f} MB per million photos."


def plot_growth(figures: Mapping, path: Path) -> None:
    """Draw speed and memory side by side."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
    speed, memory = figures["speed"], figures["memory"]
    numbers = [row["workers"] for row in speed]
    rates = [row["photos_per_second"] for row in speed]
    left.plot(numbers, rates, "o-")
    left.plot(numbers, [rates[0] * number / numbers[0] for number in numbers], "--", color="grey")
    left.set(xlabel="processes", ylabel="photos a second", xticks=numbers, ylim=(0, None))
    left.set_title("dashed: in proportion", fontsize=9)
    for name, label in (("main_megabytes", "main process"), ("worker_megabytes", "each scorer")):
        right.plot(
            [row["photos"] for row in memory], [row[name] for row in memory], "o-", label=label
        )
    right.set(xscale="log", xlabel="photos in the collection", ylabel="largest memory, MB")
    right.set_ylim(0, None)
    right.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _speed(photos: Sequence[Path], workers: int, few: int, many: int) -> dict[str, float]:
    seconds = [_score(photos, number, workers)[0] for number in (few, many)]
    rate = (many - few) / (seconds[1] - seconds[0])
    return {
        "workers": workers,
        "photos_per_second": rate,
        "start_seconds": seconds[0] - few / rate,
    }


def _score(photos: Sequence[Path], number: int, workers: int) -> tuple[float, dict[str, float]]:
    """Score `number` photos in a new process; return the seconds and the memory in MB it took.

    Raises:
        RuntimeError: the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "list.txt"
        with paths.open("w") as file:
            file.writelines(f"{photos[index % len(photos)]}\n" for index in range(number))
        verb = [sys.executable, "-m", "training", "score", str(paths), "--workers", str(workers)]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*verb, "--output", str(Path(folder) / "scores.parquet")],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.DEVNULL,
        )
        main = worker = 0.0
        while process.poll() is None:
            main = max(main, resident_memory(process.pid, peak=True))
            memories = (resident_memory(pid, peak=True) for pid in _children(process.pid))
            worker = max(worker, *memories, 0.0)
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
        seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"`score` ended with exit code {process.returncode}.")
    return seconds, {"main_megabytes": main, "worker_megabytes": worker}


def resident_memory(pid: int, *, peak: bool) -> float:
    """Return a process' current or peak resident memory in MB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    match = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _slope(memory: Sequence[Mapping[str, float]], workers: int) -> float | None:
    """Return the MB by which all processes together grow for each further million photos."""
    rows = memory[1:]
    if len(rows) < 2:
        return None
    total = [row["main_megabytes"] + workers * row["worker_megabytes"] for row in rows]
    return float(np.polyfit([row["photos"] / MILLION for row in rows], total, 1)[0])
