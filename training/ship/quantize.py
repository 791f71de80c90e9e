"""Numeric formats for the exported graph, made with `ai-edge-quantizer`."""

from __future__ import annotations

from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe import AlgorithmName
from ai_edge_quantizer.recipe import TFLOperationName as Op

# These blocks hold a hundredth of EfficientNetB0's weights and its largest feature maps. Eight bits
# there save nothing, cost more time than they gain, and cause nearly all of the deviation from the
# float graph (figures in the log).
FLOAT_BLOCKS = ("stem", "block1a", "block2a", "block2b", "block3a", "block3b")


def float16(graph: bytes) -> bytes:
    """Return a float32 LiteRT graph with float16 weights, computed in float32."""
    quantizer = Quantizer(graph)
    for operation in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED):
        _store_in_float16(quantizer, ".*", operation)
    return _quantize(quantizer)


def dynamic_range(graph: bytes) -> bytes:
    """Return a float32 LiteRT graph with int8 weights and activations quantised at run time.

    The first blocks stay in float16, and so do depthwise convolutions, 3 % of the weights: their
    dynamic kernels are slower than float ones.
    """
    quantizer = Quantizer(graph)
    for operation in (Op.CONV_2D, Op.FULLY_CONNECTED):
        quantizer.add_dynamic_config(".*", operation, 8)
    _store_in_float16(quantizer, ".*", Op.DEPTHWISE_CONV_2D)
    for operation in (Op.CONV_2D, Op.FULLY_CONNECTED):
        _store_in_float16(quantizer, f".*({'|'.join(FLOAT_BLOCKS)}).*", operation)
    return _quantize(quantizer)


def _store_in_float16(quantizer: Quantizer, layers: str, operation: Op) -> None:
    quantizer.add_weight_only_config(
        layers, operation, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
    )


def _quantize(quantizer: Quantizer) -> bytes:
    for boundary in (Op.INPUT, Op.OUTPUT):  # callers pass and get float32
        quantizer.update_quantization_recipe(
            ".*", boundary, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    result = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
