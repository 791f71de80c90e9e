import os
import subprocess
import sys

import pytest

from training.lab.benchmark_growth import measure_growth, memory_rows, resident_memory, speed_rows

pytestmark = pytest.mark.slow


def test_collections_are_scored_in_processes(monkeypatch):
    monkeypatch.setattr("training.lab.benchmark_growth.PHOTOS", 4)
    figures = measure_growth([1], sizes=(4,), few=4, many=40)
    (speed,), (memory,) = figures["speed"], figures["memory"]
    assert speed["workers"] == 1
    assert speed["photos_per_second"] > 0
    assert memory["photos"] == 4
    assert memory["main_megabytes"] > 20
    assert memory["worker_megabytes"] > 20  # the worker process was seen
    assert figures["megabytes_per_million"] is None  # one size gives no slope


def test_the_slope_leaves_the_smallest_collection_out():
    from training.lab.benchmark_growth import _slope

    rows = [(10, 5), (1_000, 50), (11_000, 51)]
    memory = [
        {"photos": photos, "main_megabytes": main, "worker_megabytes": 10} for photos, main in rows
    ]
    assert _slope(memory, workers=2) == pytest.approx(100)  # 1 MB for 10,000


def test_tables_say_what_a_million_take():
    speed = [
        {"workers": number, "photos_per_second": 100.0 * number, "start_seconds": 1.0}
        for number in (1, 2)
    ]
    memory = [{"photos": 100_000, "main_megabytes": 74.4, "worker_megabytes": 68.0}]
    figures = {"speed": speed, "memory": memory, "megabytes_per_million": 3.21}
    assert "| 2 | 200 | 2.00 | 1.0 s | 1.4 h | 0.14 h |" in speed_rows(figures)
    assert "| 100,000 | 74 MB | 68 MB |" in memory_rows(figures)
    assert memory_rows(figures).endswith("grow by 3 MB per million photos.")


def test_memory_is_that_of_the_process():
    code = "x = bytearray(60_000_000); del x; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        peak, current = (resident_memory(process.pid, peak=peak) for peak in (True, False))
        process.communicate(b"\n")
    assert peak > 60 > current > 0
    assert resident_memory(process.pid, peak=True) == 0
    assert resident_memory(os.getpid(), peak=False) > 0
