"""Time the whole page, and one that serves the same network with TensorFlow.

The latter does less: it finds no faces and shows no heatmap.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from gradio_client import Client, handle_file

from space.detector import load_bundled
from space.faces import load_face_finder
from space.video import judge_video
from training.lab.benchmark_growth import resident_memory
from training.lab.benchmark_network import build_like_bundled
from training.lab.benchmark_photo import PORTRAIT
from training.measure.markdown import markdown_table

SPACE = PORTRAIT.parents[1]
STARTS = 3
AT_ONCE = 50  # calls
START_LIMIT = 120  # s
CLIP = {"seconds": 10, "rate": 25, "width": 1280, "height": 720}
TITLES = {
    "page_seconds": "page, from its start to its first answer",
    "keras_page_seconds": "page that predicts with Keras on TensorFlow, likewise",
    "page_megabytes": "page, resident memory after a photo and the clip",
    "keras_page_megabytes": "page that predicts with Keras, resident memory after a photo",
    "clip_seconds": "clip of 10 s, 1280x720 ({finder}): `judge_video`",
    "burst_seconds": "page, 50 photos sent at once: until the last answer",
    "burst_megabytes": "page, largest resident memory of all that",
}
# A page that serves the same network the usual way, without finding faces.
KERAS_PAGE = """
import sys

import gradio as gr
import keras
from PIL import Image

model = keras.models.load_model(sys.argv[1])
side = model.input_shape[1]


def judge_photo(photo: gr.FileData) -> float:
    opened = Image.open(photo["path"]).convert("RGB").resize((side, side))
    pixels = keras.utils.img_to_array(opened)
    return float(model.predict(pixels[None], verbose=0)[0, 1])


with gr.Blocks(analytics_enabled=False) as page:
    gr.api(judge_photo)
page.launch()
"""


def time_page() -> dict[str, float | str]:
    """Time the start of the page and of one that runs Keras, a clip, and many calls at once.

    Returns:
        The figures that `TITLES` names, and `finder`: the name of the face finder.

    Raises:
        RuntimeError: a page exited, or did not start within two minutes.
    """
    finder = load_face_finder()
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.keras"
        build_like_bundled().save(network)
        own_program, keras_program = [str(SPACE / "app.py")], ["-c", KERAS_PAGE, str(network)]
        starts = [(time_start(own_program), time_start(keras_program)) for _ in range(STARTS)]
        seconds, keras_seconds = (statistics.median(times) for times in zip(*starts, strict=True))
        with running_page(keras_program) as (address, page):
            _ask(Client(address, verbose=False))
            keras_megabytes = resident_memory(page.pid, peak=False)
        clip = write_clip(Path(folder) / "clip.mp4")
        start = time.perf_counter()
        judge_video(clip, load_bundled(), finder)
        clip_seconds = time.perf_counter() - start
        return {
            "finder": finder.name,
            "page_seconds": seconds,
            "keras_page_seconds": keras_seconds,
            "keras_page_megabytes": keras_megabytes,
            "clip_seconds": clip_seconds,
            **_time_calls(own_program, clip),
        }


def page_table(figures: Mapping) -> str:
    """Return the figures of `time_page` as a Markdown table."""
    units = {"seconds": "s", "megabytes": "MB"}
    rows = [
        (
            title.format(finder=figures["finder"]),
            f"{figures[name]:.1f} {units[name.rsplit('_', 1)[1]]}",
        )
        for name, title in TITLES.items()
    ]
    return markdown_table(("what", "figure"), rows)


def write_clip(path: Path) -> Path:
    """Write a clip of the example portrait moving over a grey wall; return its path."""
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
def running_page(program: Sequence[str]) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start a page in a new process; yield its address and process once it listens.

    Args:
        program: arguments for the Python interpreter.

    Raises:
        RuntimeError: it exited, or did not start within two minutes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = subprocess.Popen(
        [sys.executable, *program],
        # No MODEL_ID: the page serves the bundled model, which is what is measured here.
        env=os.environ | {"GRADIO_SERVER_PORT": str(port), "MODEL_ID": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, page, time.perf_counter() + START_LIMIT)
        yield f"http://127.0.0.1:{port}", page
    finally:
        page.terminate()
        page.wait()


def time_start(program: Sequence[str]) -> float:
    """Return the seconds from starting a page in a new process to its first answer."""
    start = time.perf_counter()
    with running_page(program) as (address, _):
        _ask(Client(address, verbose=False))
        return time.perf_counter() - start


def _time_calls(program: Sequence[str], clip: Path) -> dict[str, float]:
    """Return the figures of a page that judges a photo, a clip and many photos at once."""
    with running_page(program) as (address, page):
        client = Client(address, verbose=False)
        _ask(client)
        client.predict(handle_file(clip), api_name="/judge_video")
        resident = resident_memory(page.pid, peak=False)
        start = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(_ask, [client] * AT_ONCE))
        burst = time.perf_counter() - start
        peak = resident_memory(page.pid, peak=True)
    return {"page_megabytes": resident, "burst_seconds": burst, "burst_megabytes": peak}


def _ask(client: Client) -> object:
    return client.predict(handle_file(PORTRAIT), api_name="/judge_photo")


def _wait_for(port: int, page: subprocess.Popen, deadline: float) -> None:
    while page.poll() is None and time.perf_counter() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("The page did not start.")
