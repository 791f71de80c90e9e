"""Time the parts of an answer, and the page as a whole: `python -m training benchmark`."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from gradio_client import Client, handle_file

from space import detector as detector_module
from space.detector import load_bundled
from space.faces import load_face_finder
from space.service import Service
from space.video import judge_video
from training.report import markdown_table
from training.timing import time_in_turn

SPACE = Path(detector_module.__file__).parent
PORTRAIT = SPACE / "examples" / "portrait.jpg"
RUNS = 50
STARTS = 3
AT_ONCE = 50  # calls
START_LIMIT = 60  # s
CLIP = {"seconds": 10, "rate": 25, "width": 1280, "height": 720}
TITLES = {
    "keras_ms": "Keras `predict`, one crop",
    "detector_ms": "`Detector.predict`, one crop",
    "photo_ms": "photo with one face ({finder}): decode, find, judge, heatmap, answer and report",
    "clip_seconds": "clip of 10 s, 1280x720 ({finder}): `judge_video`",
    "page_seconds": "page, from its start to its first answer",
    "page_megabytes": "page, resident memory after a photo and the clip",
    "burst_seconds": "page, 50 photos sent at once: until the last answer",
    "burst_megabytes": "page, largest resident memory of all that",
}

log = logging.getLogger(__name__)


def benchmark(output: Path | None = None) -> dict[str, float | str]:
    """Time the bundled model against Keras, an answer about a photo and a clip, and the page.

    Keras and the detector take turns, so that both see the same state of the machine. Keras'
    network is an untrained one of the same layout: weights do not change its speed.

    Args:
        output: JSON file to write the figures into.

    Returns:
        The figures that `TITLES` names, and `finder`: what found the faces.

    Raises:
        RuntimeError: the page ended, or did not start within a minute.
    """
    finder = load_face_finder()
    service = Service(load_bundled(), finder)
    figures: dict[str, float | str] = {"finder": finder.name}
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4")
        figures |= _time_page(clip)
        figures |= _time_parts(service, clip)
    figures |= _time_against_keras(service)
    log.info("%s, %d cores.\n%s", platform.machine(), os.cpu_count(), speed_table(figures))
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def speed_table(figures: dict[str, float | str]) -> str:
    """Return what `benchmark` measured as a Markdown table."""
    units = {"ms": "ms", "seconds": "s", "megabytes": "MB"}
    rows = [
        (title.format(finder=figures["finder"]), f"{figures[name]:.1f} {units[name.split('_')[1]]}")
        for name, title in TITLES.items()
    ]
    return markdown_table(("what", "figure"), rows)


def write_clip(path: Path) -> Path:
    """Write a clip in which the portrait of the examples moves over a grey wall; return it."""
    portrait = cv2.imread(str(PORTRAIT))
    size, height = (CLIP["width"], CLIP["height"]), portrait.shape[0]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), CLIP["rate"], size)
    for number in range(CLIP["seconds"] * CLIP["rate"]):
        frame = np.full((CLIP["height"], CLIP["width"], 3), 150, np.uint8)
        frame[200 : 200 + height, 100 + number : 100 + number + portrait.shape[1]] = portrait
        writer.write(frame)
    writer.release()
    return path


@contextmanager
def running_page() -> Iterator[tuple[str, subprocess.Popen]]:
    """Start the page with the bundled model in a new process; yield its address when it listens.

    Raises:
        RuntimeError: it ended, or did not start within a minute.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = subprocess.Popen(
        [sys.executable, str(SPACE / "app.py")],
        # No MODEL_ID: the page serves the bundled model, which is what is measured here.
        env=os.environ | {"GRADIO_SERVER_PORT": str(port), "MODEL_ID": ""},
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, page, time.perf_counter() + START_LIMIT)
        yield f"http://127.0.0.1:{port}", page
    finally:
        page.terminate()
        page.wait()


def time_page_start() -> float:
    """Return the seconds from starting the page in a new process to its first answer."""
    start = time.perf_counter()
    with running_page() as (address, _):
        _ask(Client(address, verbose=False))
        return time.perf_counter() - start


def _time_page(clip: Path) -> dict[str, float]:
    """Time the page; its memory includes everything that it has loaded."""
    starts = [time_page_start() for _ in range(STARTS)]
    with running_page() as (address, page):
        client = Client(address, verbose=False)
        _ask(client)
        client.predict(handle_file(clip), api_name="/judge_video")
        resident = _memory(page, "VmRSS")
        start = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(_ask, [client] * AT_ONCE))
        burst = time.perf_counter() - start
        peak = _memory(page, "VmHWM")
    return {
        "page_seconds": statistics.median(starts),
        "page_megabytes": resident,
        "burst_seconds": burst,
        "burst_megabytes": peak,
    }


def _ask(client: Client) -> dict:
    return client.predict(handle_file(PORTRAIT), api_name="/judge_photo")


def _memory(page: subprocess.Popen, name: str) -> float:
    """Return a process' memory in MB, by a name that Linux gives it."""
    status = Path(f"/proc/{page.pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1000


def _time_parts(service: Service, clip: Path) -> dict[str, float]:
    content = PORTRAIT.read_bytes()
    (photo_ms,) = time_in_turn([lambda: service.photo_html(content, PORTRAIT.name)], RUNS)
    start = time.perf_counter()
    judge_video(clip, service.detector, service.finder)
    return {"photo_ms": photo_ms, "clip_seconds": time.perf_counter() - start}


def _time_against_keras(service: Service) -> dict[str, float]:
    from training.model import build_model

    size = service.detector.config.input_size
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    pixels = photo[None].astype(np.float32)
    model = build_model(backbone_weights="none", trainable_layers=20, input_size=size)
    keras_ms, detector_ms = time_in_turn(
        [lambda: model.predict(pixels, verbose=0), lambda: service.detector.predict(photo)], RUNS
    )
    return {"keras_ms": keras_ms, "detector_ms": detector_ms}


def _wait_for(port: int, page: subprocess.Popen, deadline: float) -> None:
    while page.poll() is None and time.perf_counter() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("The page did not start.")
