"""Time one prediction and the start of the page: `python -m training benchmark`."""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

from space import detector as detector_module
from space.detector import load_bundled
from training.timing import time_in_turn

PAGE = Path(detector_module.__file__).with_name("app.py")
RUNS = 50
START_LIMIT = 60  # s

log = logging.getLogger(__name__)


def benchmark(output: Path | None = None) -> dict[str, float]:
    """Time the bundled model against Keras, and the page from its start to its first answer.

    Keras and LiteRT take turns, so that both see the same state of the machine. Keras' network is
    an untrained one of the same layout: weights do not change its speed.

    Args:
        output: JSON file to write the figures into.

    Returns:
        Medians: `keras_ms` and `detector_ms` for one photo, `page_seconds` to the first answer.
    """
    detector = load_bundled()
    size = detector.config.input_size
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    page_seconds = statistics.median(time_page_start(photo) for _ in range(3))
    model = _keras_model(size)
    pixels = photo[None].astype(np.float32)
    keras_ms, detector_ms = time_in_turn(
        [lambda: model.predict(pixels, verbose=0), lambda: detector.predict(photo)], RUNS
    )
    log.info("Machine: %s, %d cores, medians of %d.", platform.machine(), os.cpu_count(), RUNS)
    log.info("Keras predict, one photo: %.1f ms", keras_ms)
    log.info(
        "Detector.predict (%s), one photo: %.1f ms, %.1f times as fast",
        detector.config.variant,
        detector_ms,
        keras_ms / detector_ms,
    )
    log.info("Page, from its start to its first answer: %.1f s (median of 3)", page_seconds)
    figures = {"keras_ms": keras_ms, "detector_ms": detector_ms, "page_seconds": page_seconds}
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def time_page_start(photo: np.ndarray) -> float:
    """Return the seconds from starting the page in a new process to its first answer.

    Args:
        photo: `uint8` array `[height, width, 3]` to send.

    Raises:
        RuntimeError: the page ended or gave no answer within a minute.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.png"
        Image.fromarray(photo).save(path)
        start = time.perf_counter()
        page = subprocess.Popen(
            [sys.executable, str(PAGE)],
            # No MODEL_ID: the page serves the bundled model, which is what is measured here.
            env=os.environ | {"GRADIO_SERVER_PORT": str(port), "MODEL_ID": ""},
            stdout=subprocess.DEVNULL,
        )
        try:
            _wait_for(port, page, start + START_LIMIT)
            client = Client(f"http://127.0.0.1:{port}", verbose=False)
            client.predict(handle_file(path), api_name="/judge_photo")
            return time.perf_counter() - start
        finally:
            page.terminate()
            page.wait()


def _wait_for(port: int, page: subprocess.Popen, deadline: float) -> None:
    while page.poll() is None and time.perf_counter() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("The page did not start.")


def _keras_model(size: int):
    from training.model import build_model

    return build_model(backbone_weights="none", trainable_layers=20, input_size=size)
