"""The browser's graph answers like the exported one.

Python and JavaScript restore its weights to the same bytes.
"""

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from space.detector import BUNDLED
from tests.conftest import FACES
from tests.serving import SPACE
from training.ship.float_graph import Kernel, take_weights

TINY_INT8 = 0.02  # error of int8 activations, which the float graph lacks


def answers(graph: bytes, photos: np.ndarray) -> dict[str, np.ndarray]:
    return Interpreter(model_content=graph).get_signature_runner()(image=photos)


@pytest.mark.parametrize("variant", ["float16", "dynamic-range"])
def test_graph_with_its_weights_in_float32_answers_as_the_exported_one(exported, variant):
    path = exported / f"variants/{variant}.tflite"
    content = (path if path.is_file() else exported / "detector.tflite").read_bytes()
    network = take_weights(content)
    assert any(kernel.scales for kernel in network.kernels) == (variant == "dynamic-range")
    found, wanted = (answers(graph, FACES) for graph in (network.whole(), content))
    for output in ("probabilities", "heatmap"):
        np.testing.assert_allclose(found[output], wanted[output], TINY_INT8, TINY_INT8)


def test_bundled_graph_becomes_no_larger_on_the_way_and_answers_as_before():
    content = (BUNDLED / "detector.tflite").read_bytes()
    network = take_weights(content)
    assert len(network.graph) + len(network.weights) < len(content)
    side = Interpreter(model_content=content).get_input_details()[0]["shape"][1]
    photos = np.random.default_rng(1).integers(0, 256, (2, side, side, 3)).astype(np.float32)
    found, wanted = (answers(graph, photos) for graph in (network.whole(), content))
    np.testing.assert_allclose(found["probabilities"], wanted["probabilities"], atol=TINY_INT8)


def test_graph_without_small_weights_stays_as_it_is():
    whole = take_weights((BUNDLED / "detector.tflite").read_bytes()).whole()
    network = take_weights(whole)
    assert network.kernels == ()
    assert network.weights == b""
    side = Interpreter(model_content=whole).get_input_details()[0]["shape"][1]
    photo = np.full((1, side, side, 3), 90, np.float32)
    found, wanted = (answers(graph, photo) for graph in (network.whole(), whole))
    np.testing.assert_array_equal(found["probabilities"], wanted["probabilities"])


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_javascript_puts_weights_back_to_the_same_bytes(tmp_path: Path):
    network = take_weights((BUNDLED / "detector.tflite").read_bytes())
    assert Kernel(values=864, scales=0, run=1) in network.kernels  # the first layer's, in float16
    (tmp_path / "graph").write_bytes(network.graph)
    (tmp_path / "weights").write_bytes(network.weights)
    (tmp_path / "kernels").write_text(json.dumps([asdict(kernel) for kernel in network.kernels]))
    code = f"""
    import {{ readFileSync, writeFileSync }} from "node:fs";
    import {{ withWeights }} from "{(SPACE / "browser/weights.js").as_uri()}";
    const [graph, weights] = ["graph", "weights"].map((name) => new Uint8Array(readFileSync(name)));
    writeFileSync("whole", withWeights(graph, weights, JSON.parse(readFileSync("kernels"))));"""
    subprocess.run(["node", "--input-type=module", "-e", code], cwd=tmp_path, check=True)
    assert (tmp_path / "whole").read_bytes() == network.whole()
