"""Time the network in several runtimes, and compare each with the machine's limit.

The limit is the number of the network's multiplications and additions over the rate at which
NumPy's BLAS multiplies float32 matrices. Eight-bit formats may beat it: their arithmetic is denser.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from threadpoolctl import threadpool_limits

from space.contract import MODEL_FILE
from space.detector import BATCH, BUNDLED, Detector
from training.config import EVIDENCE_STEP
from training.fit.network import EVIDENCE, build_model
from training.measure.markdown import markdown_table
from training.ship.export import export_graph
from training.ship.timing import spread_in_turn

GEMM_SIDE = 1024
TRAINING_BATCH = 32
SEED = 0  # of the weights
SIDES = (128, 160, 224)  # px of the photos in timed training steps
TRAINED = 200  # layers at the backbone's end, as in the default recipe

Call = Callable[[np.ndarray], object]

log = logging.getLogger(__name__)


def time_networks(runs: int) -> dict:
    """Time the bundled network and others of its layout, with random weights, in turn.

    The LiteRT and ONNX graphs also compute the heatmap, the others only the probabilities.

    Args:
        runs: number of times that each is timed.

    Returns:
        A JSON-compatible dict: `side` of the photos in px, `gflop` per photo, `gemm` (rate in
        GFLOP/s by threads), `batch` (its size), and `rows`, each with `name`, `threads`, `one` and
        `batch` (median and quartiles in ms, for one photo and for each of a batch) and `over_limit`
        (time of one photo as a multiple of the limit for its threads).
    """
    side = Detector(BUNDLED).config.input_size
    model = build_like_bundled()
    rates = {threads: gemm_rate(threads) for threads in _thread_counts()}
    pixels = np.random.default_rng(0).uniform(0, 255, (BATCH, side, side, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        calls = _runtimes(model, Path(folder))
        # One size after the other: a runtime sets its graph up anew when the batch size changes.
        singles, batches = (
            spread_in_turn(
                {key: lambda call=call, part=part: call(part) for key, call in calls.items()}, runs
            )
            for part in (pixels[:1], pixels)
        )
    gflop = flops(model) / 1e9
    rows = []
    for name, threads in calls:
        single = singles[name, threads]
        rows.append(
            {
                "name": name,
                "threads": threads,
                "one": single,
                "batch": {key: ms / BATCH for key, ms in batches[name, threads].items()},
                "over_limit": single["median"] / (1000 * gflop / rates[threads]),
            }
        )
    return {"side": side, "gflop": gflop, "gemm": rates, "batch": BATCH, "rows": rows}


def time_training(runs: int) -> dict[str, float]:
    """Return the photos a second of a training step, by the side of the photos.

    It is a plain step with one loss: no loading of photos, no weight averaging, no mask loss.
    """
    calls = {}
    for side in SIDES:
        model = build_model(
            backbone_weights="none", trainable_layers=TRAINED, head=EVIDENCE, input_size=side
        )
        model.compile("adam", "categorical_crossentropy", jit_compile=False)
        pixels = np.zeros((TRAINING_BATCH, side, side, 3), np.float32)
        labels = np.tile(np.eye(2, dtype=np.float32), (TRAINING_BATCH // 2, 1))
        calls[str(side)] = lambda model=model, batch=(pixels, labels): model.train_on_batch(*batch)
    spreads = spread_in_turn(calls, runs)
    return {side: 1000 * TRAINING_BATCH / spread["median"] for side, spread in spreads.items()}


def build_like_bundled() -> keras.Model:
    """Return a network of the bundled model's layout with random weights, the same every time."""
    keras.utils.set_random_seed(SEED)
    detector = Detector(BUNDLED)
    side = detector.config.input_size
    heatmap = detector.predict(np.zeros((side, side, 3), np.uint8)).heatmap
    head = EVIDENCE if len(heatmap) == side // EVIDENCE_STEP else "pooled"
    return build_model(backbone_weights="none", trainable_layers=20, head=head, input_size=side)


def flops(model: keras.Model) -> float:
    """Return the multiplications and additions of convolutions and dense layers for one photo."""
    total = 0.0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
            total += 2 * math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
    return total


def gemm_rate(threads: int, runs: int = 20) -> float:
    """Return the GFLOP/s at which NumPy multiplies float32 matrices with `threads` threads."""
    first, second = np.random.default_rng(0).random((2, GEMM_SIDE, GEMM_SIDE), np.float32)
    with threadpool_limits(threads):
        spread = spread_in_turn({"gemm": lambda: first @ second}, runs)["gemm"]
    return 2 * GEMM_SIDE**3 / spread["median"] / 1e6


def networks_table(figures: Mapping) -> str:
    """Return the figures of `time_networks` as a Markdown table."""
    rows = [
        (
            row["name"],
            str(row["threads"]),
            show_spread(row["one"]),
            show_spread(row["batch"]),
            f"{row['over_limit']:.1f}",
        )
        for row in figures["rows"]
    ]
    head = ("runtime", "threads", "one photo, ms", f"each of {figures['batch']}, ms")
    return markdown_table((*head, "times the limit"), rows)


def show_spread(spread: Mapping[str, float]) -> str:
    """Return a median with its quartiles."""
    return f"{spread['median']:.1f} ({spread['low']:.1f} to {spread['high']:.1f})"


def _thread_counts() -> list[int]:
    return sorted({1, os.cpu_count() or 1})


def _runtimes(model: keras.Model, folder: Path) -> dict[tuple[str, int], Call]:
    """Return functions that judge photos `[photos, side, side, 3]`, by name and threads."""
    import tensorflow as tf

    cores = os.cpu_count() or 1
    compiled = tf.function(model, reduce_retracing=True)
    calls: dict[tuple[str, int], Call] = {
        ("Keras `predict`", cores): lambda pixels: model.predict(pixels, verbose=0),
        ("`tf.function`", cores): lambda pixels: compiled(pixels, training=False),
    }
    graphs = {
        "LiteRT float32": export_graph(model),
        "LiteRT, as bundled": (BUNDLED / MODEL_FILE).read_bytes(),
    }
    for name, graph in graphs.items():
        for threads in _thread_counts():
            calls[name, threads] = _litert(graph, threads)
    for name, packages, make in (
        ("ONNX Runtime", ("onnxruntime", "tf2onnx"), _onnx_runtime),
        ("OpenVINO", ("openvino",), _openvino),
    ):
        if all(map(find_spec, packages)):
            calls |= {(name, threads): make(model, folder, threads) for threads in _thread_counts()}
        else:
            log.info("%s is left out: pip install %s.", name, " ".join(packages))
    return calls


def _litert(graph: bytes, threads: int) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=graph, num_threads=threads)
    any_number = interpreter.get_input_details()[0]["shape_signature"][0] == -1
    run = interpreter.get_signature_runner("serving_default")
    if any_number:
        return lambda pixels: run(image=pixels)
    return lambda pixels: [run(image=photo[None]) for photo in pixels]


def _onnx_runtime(model: keras.Model, folder: Path, threads: int) -> Call:
    import onnxruntime
    import tf2onnx

    path = folder / "network.onnx"
    if not path.exists():  # Keras' own export writes a graph that ONNX Runtime refuses
        tflite = folder / "network.tflite"
        tflite.write_bytes(export_graph(model))
        tf2onnx.convert.from_tflite(str(tflite), output_path=str(path), opset=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait would slow down the next candidate.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (graph_input,) = session.get_inputs()
    return lambda pixels: session.run(None, {graph_input.name: pixels})


def _openvino(model: keras.Model, folder: Path, threads: int) -> Call:
    import openvino

    path = folder / "saved"
    if not path.exists():
        model.export(path, verbose=False)
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    network = openvino.compile_model(openvino.convert_model(path), "CPU", settings)
    return lambda pixels: network(pixels)
