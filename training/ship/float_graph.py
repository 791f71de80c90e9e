"""An exported graph for a runtime that is fastest in float32, with weights as small as they are.

Compiled to WebAssembly, LiteRT takes less than half the time for float32 convolutions that it takes
for those with int8 weights, and it turns float16 weights into float32 in every run anew. In float32
a visitor would download four times as much. So the page gets the graph without weights, and these
in the formats of the export: it puts them behind the graph in float32, where that expects them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Op, Type = schema.BuiltinOperator, schema.TensorType
WEIGHTED = {Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED}
STORED = {Type.INT8: np.dtype(np.int8), Type.FLOAT16: np.dtype("<f2")}
KERNEL = 1  # of the inputs of these
ALIGNMENT = 16  # bytes, of where the weights begin


@dataclass(frozen=True)
class Kernel:
    """How the weights of a layer are stored.

    Attributes:
        values: how many there are.
        scales: how many scales they have; 0: they are float16, otherwise int8.
        run: weights in a row that share a scale; after the last scale the first one follows.
    """

    values: int
    scales: int
    run: int


@dataclass(frozen=True)
class FloatGraph:
    """A graph that computes in float32, and its weights.

    Attributes:
        graph: a `.tflite` file that expects its weights behind its end, in order, as `float32`.
        weights: of each kernel the scales, `float32`, then the weights, `int8` or `float16`, filled
            up to a multiple of four bytes; little-endian.
        kernels: in this order.
    """

    graph: bytes
    weights: bytes
    kernels: tuple[Kernel, ...]

    def whole(self) -> bytes:
        """Return the graph with its weights, as `space/browser/weights.js` does."""
        values, at = [], 0
        for kernel in self.kernels:
            scales = np.ndarray(kernel.scales, "<f4", self.weights, at)
            at += scales.nbytes
            stored = STORED[Type.INT8 if kernel.scales else Type.FLOAT16]
            weights = np.ndarray(kernel.values, stored, self.weights, at)
            at += _filled_up(weights.nbytes)
            if kernel.scales:
                weights = weights.reshape(-1, kernel.scales, kernel.run) * scales[:, None]
            values.append(weights.astype("<f4").tobytes())
        return self.graph + b"".join(values)


def take_weights(content: bytes) -> FloatGraph:
    """Return an exported graph as one that computes in float32.

    Args:
        content: of a `.tflite` file whose activations are float32. Weights of other formats than
            int8 and float16 stay in the graph as they are.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    for buffer in model.buffers:
        if buffer.size:  # what the quantizer writes lies behind the part that the schema describes
            buffer.data = np.ndarray(buffer.size, np.uint8, content, buffer.offset)
            buffer.offset = buffer.size = 0
    kernels, weights = [], []
    for tensor in _quantized_kernels(model):
        kernel, stored = _stored(tensor, model.buffers[tensor.buffer].data)
        kernels.append(kernel)
        weights.append(stored)
        tensor.type, tensor.quantization = Type.FLOAT32, None
        tensor.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
    _clear_unused(model)
    graph = _packed(model, kernels, start=ALIGNMENT)
    graph = _packed(model, kernels, start=len(graph))  # as long, wherever the weights lie
    return FloatGraph(graph, b"".join(weights), tuple(kernels))


def _quantized_kernels(model: schema.ModelT) -> Iterator[schema.TensorT]:
    """Yield the kernels of layers that compute in float32, each once, and make float16 ones inputs
    of their layers, without an operation between."""
    for part in model.subgraphs:
        codes = [model.operatorCodes[operator.opcodeIndex] for operator in part.operators]
        kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in codes]
        widened = {
            operator.outputs[0]: operator.inputs[0]
            for kind, operator in zip(kinds, part.operators, strict=True)
            if kind == Op.DEQUANTIZE and part.tensors[operator.inputs[0]].type == Type.FLOAT16
        }
        for kind, operator in zip(kinds, part.operators, strict=True):
            if kind not in WEIGHTED or part.tensors[operator.inputs[0]].type != Type.FLOAT32:
                continue
            operator.inputs = operator.inputs.tolist()  # as read, they cannot be changed
            source = widened.get(operator.inputs[KERNEL], operator.inputs[KERNEL])
            operator.inputs[KERNEL] = source
            kernel = part.tensors[source]
            if kernel.type in STORED and model.buffers[kernel.buffer].data is not None:
                yield kernel
        unused = widened.keys() - {index for one in part.operators for index in one.inputs}
        part.operators = [one for one in part.operators if one.outputs[0] not in unused]


def _stored(tensor: schema.TensorT, content: np.ndarray) -> tuple[Kernel, bytes]:
    """Return how a kernel is stored, and what is."""
    values = content.view(STORED[tensor.type])
    scales, run = np.empty(0, "<f4"), 1
    if tensor.type == Type.INT8:
        scales = np.asarray(tensor.quantization.scale, "<f4")
        channel = tensor.quantization.quantizedDimension if len(scales) > 1 else -1
        run = int(np.prod(tensor.shape[channel + 1 :]))
    filling = bytes(_filled_up(values.nbytes) - values.nbytes)
    return (
        Kernel(len(values), len(scales), run),
        scales.tobytes() + values.tobytes() + filling,
    )


def _filled_up(size: int) -> int:
    return size + -size % 4


def _clear_unused(model: schema.ModelT) -> None:
    """Empty the buffers that were those of kernels."""
    used = {tensor.buffer for part in model.subgraphs for tensor in part.tensors}
    used |= {entry.buffer for entry in model.metadata or ()}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None


def _packed(model: schema.ModelT, kernels: list[Kernel], start: int) -> bytes:
    """Return the file of a graph whose last buffers are those of kernels, from `start` on."""
    of_kernels = model.buffers[len(model.buffers) - len(kernels) :]
    for buffer, kernel in zip(of_kernels, kernels, strict=True):
        buffer.offset, buffer.size = start, 4 * kernel.values
        start += buffer.size
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    return content + bytes(-len(content) % ALIGNMENT)
