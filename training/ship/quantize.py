"""Numeric formats for the exported graph, made with `ai-edge-quantizer`.

Selective int8: some blocks of EfficientNet, the first above all, have activations whose range eight
bits cannot resolve. Each block is quantised alone once and the error that it causes is measured on
training photos; then the first or the worst blocks stay in float16, whichever are fewer until the
whole agrees with the float graph.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe import AlgorithmName
from ai_edge_quantizer.recipe import TFLOperationName as Op
from tqdm import tqdm

BLOCKS = [
    "stem",
    *("block1a", "block2a", "block2b", "block3a", "block3b", "block4a", "block4b", "block4c"),
    *("block5a", "block5b", "block5c", "block6a", "block6b", "block6c", "block6d", "block7a"),
    "top",
]
# Pooling, head and heatmap: a thousandth of the work, and the map needs its precision.
HEAD = "pooled|hidden|head_norm|evidence|probabilities|heatmap|StatefulPartitionedCall"
PROBES = 50  # photos on which a variant is compared with the float graph
# Correlation of the log-odds with those of the float graph. At 0.99 the bundled network lost 0.006
# of its mean AUC on validation photos; at this, 0.001 (`export_report.json`).
AGREEMENT = 0.993

log = logging.getLogger(__name__)


class GraphQuantizer:
    """Makes smaller and faster variants of a float32 LiteRT graph.

    Args:
        graph: content of a `.tflite` file that `training.ship.saliency.with_heatmap` was exported
        to.
        photos: training photos, `float32` `[1, size, size, 3]` each, that show the range of the
            activations.

    Attributes:
        graph: the float32 graph that everything is made from.
    """

    def __init__(self, graph: bytes, photos: Sequence[np.ndarray]) -> None:
        self.graph = graph
        self._photos = photos
        self._probes = photos[:PROBES]
        self._log_odds = log_odds(graph, self._probes)

    def float16(self) -> bytes:
        """Return the graph with float16 weights, computed in float32."""
        return self._quantize(_keep_float)

    def dynamic_range(self) -> bytes:
        """Return the graph with int8 weights, whose activations are quantised as it runs.

        Depthwise convolutions, 3 % of the weights, are the exception: their dynamic kernels are
        slower than float ones.
        """

        def write_recipe(recipe: Quantizer) -> None:
            for operation in (Op.CONV_2D, Op.FULLY_CONNECTED):
                recipe.add_dynamic_config(".*", operation, 8)
            recipe.add_weight_only_config(
                ".*", Op.DEPTHWISE_CONV_2D, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
            )

        return self._quantize(write_recipe)

    def int8(self, float_blocks: Sequence[str] = ()) -> bytes:
        """Return the graph with int8 weights, one scale a channel, and int8 activations.

        Args:
            float_blocks: regular expressions of layer names that stay in float16.
        """

        def write_recipe(recipe: Quantizer) -> None:
            recipe.add_static_config(".*", Op.ALL_SUPPORTED, 8, 8)
            for block in float_blocks:
                _keep_float(recipe, f".*({block}).*")

        return self._quantize(write_recipe)

    def int8_selective(self) -> tuple[bytes, list[str]]:
        """Return the int8 graph with as few blocks in float16 as agreement takes, and those blocks.

        The head, which is a thousandth of the work, stays in float16 always: the heatmap is
        computed there.
        """
        errors = {block: self._error_of(block) for block in tqdm(BLOCKS, desc="Trying blocks")}
        worst_first = sorted(BLOCKS, key=errors.__getitem__, reverse=True)
        # Errors of the first blocks pass through all others, which one block alone does not show.
        choices = [order[:count] for count in range(len(BLOCKS)) for order in (BLOCKS, worst_first)]
        for blocks in choices[1:]:  # the first two are the same: none
            graph = self.int8([HEAD, *blocks])
            agreement = np.corrcoef(log_odds(graph, self._probes), self._log_odds)[0, 1]
            if agreement >= AGREEMENT:
                break
        log.info("int8 with %s in float16: correlation %.3f.", blocks or "no block", agreement)
        return graph, blocks

    def _error_of(self, block: str) -> float:
        """Return the error of the log-odds (root mean square) with one block alone in int8."""
        graph = self._quantize(
            lambda recipe: recipe.add_static_config(f".*{block}.*", Op.ALL_SUPPORTED, 8, 8)
        )
        return float(np.sqrt(np.mean((log_odds(graph, self._probes) - self._log_odds) ** 2)))

    def _quantize(self, write_recipe: Callable[[Quantizer], None]) -> bytes:
        quantizer = Quantizer(self.graph)
        write_recipe(quantizer)
        for outside in (Op.INPUT, Op.OUTPUT):  # callers pass and get float32
            quantizer.update_quantization_recipe(
                ".*", outside, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
        ranges = self._ranges if quantizer.need_calibration else None
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)

    @cached_property
    def _ranges(self) -> dict:
        """Return the range of every activation over the photos; measured once for all variants."""
        quantizer = Quantizer(self.graph)
        quantizer.add_static_config(".*", Op.ALL_SUPPORTED, 8, 8)
        log.info("Measuring activations on %d training photos.", len(self._photos))
        samples = [{"image": photo} for photo in self._photos]
        return quantizer.calibrate({"serving_default": samples}, num_threads=os.cpu_count())


def log_odds(graph: bytes, photos: Sequence[np.ndarray]) -> np.ndarray:
    """Return a graph's log-odds of fake, `[photos]`.

    Args:
        graph: content of a `.tflite` file.
        photos: `float32` `[1, size, size, 3]` each.
    """
    runner = Interpreter(model_content=graph, num_threads=os.cpu_count()).get_signature_runner()
    fake = np.array([runner(image=photo)["probabilities"][0, 1] for photo in photos], np.float64)
    fake = fake.clip(1e-6, 1 - 1e-6)
    return np.log(fake / (1 - fake))


def _keep_float(recipe: Quantizer, layers: str = ".*") -> None:
    """Store the weights of some layers in float16 and compute them in float32."""
    # Only these hold weights; the others take no such rule and are left alone.
    recipe.update_quantization_recipe(
        layers, Op.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
    )
    for operation in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED):
        recipe.add_weight_only_config(
            layers, operation, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
