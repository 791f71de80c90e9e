"""An exported graph that computes in float32, with weights as small as in the export.

Compiled to WebAssembly, LiteRT takes less than half the time for float32 convolutions that it takes
for those with int8 weights, and it converts float16 weights to float32 again in every run. In
float32 a visitor would download four times as much. So the page downloads the graph without
weights, and the weights in the formats of the export. It converts them to float32 and appends them
to the graph, which expects them there.
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
KERNEL = 1  # its index among the inputs of these operations
ALIGNMENT = 16  # bytes, of the start of the weights


@dataclass(frozen=True)
class Kernel:
    """How the weights of a layer are stored.

    Attributes:
        values: number of weights.
        scales: number of their scales if they are int8; 0 if they are float16.
        run: consecutive weights that share a scale; after the last scale the first one follows.
    """

    values: int
    scales: int
    run: int


@dataclass(frozen=True)
class FloatGraph:
    """A graph that computes in float32, and its weights.

    Attributes:
        graph: a `.tflite` file that expects its weights after its end, in order, as `float32`.
        weights: for each kernel its scales, `float32`, then its weights, `int8` or `float16`,
            padded to a multiple of four bytes; little-endian.
        kernels: in this order.
    """

    graph: bytes
    weights: bytes
    kernels: tuple[Kernel, ...]

    def whole(self) -> bytes:
        """Return the graph with its weights, as `space/browser/weights.js` does."""
        values, offset = [], 0
        for kernel in self.kernels:
            scales = np.ndarray(kernel.scales, "<f4", self.weights, offset)
            offset += scales.nbytes
            stored = STORED[Type.INT8 if kernel.scales else Type.FLOAT16]
            weights = np.ndarray(kernel.values, stored, self.weights, offset)
            offset += _filled_up(weights.nbytes)
            if kernel.scales:
                weights = weights.reshape(-1, kernel.scales, kernel.run) * scales[:, None]
            values.append(weights.astype("<f4").tobytes())
        return self.graph + b"".join(values)


def take_weights(content: bytes) -> FloatGraph:
    """Return an exported graph as one that computes in float32.

    Args:
        content: of a `.tflite` file whose activations are float32. Weights in other formats than
            int8 and float16 stay in the graph.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    for buffer in model.buffers:
        if buffer.size:  # the quantizer writes it after the part that the schema describes
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
    graph = _packed(model, kernels, start=len(graph))  # of the same length for any start
    return FloatGraph(graph, b"".join(weights), tuple(kernels))


def _quantized_kernels(model: schema.ModelT) -> Iterator[schema.TensorT]:
    """Yield the quantised kernels of layers that compute in float32, each once.

    Float16 kernels become direct inputs of their layers, without an operation in between.
    """
    for subgraph in model.subgraphs:
        codes = [model.operatorCodes[operator.opcodeIndex] for operator in subgraph.operators]
        kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in codes]
        dequantized = {
            operator.outputs[0]: operator.inputs[0]
            for kind, operator in zip(kinds, subgraph.operators, strict=True)
            if kind == Op.DEQUANTIZE and subgraph.tensors[operator.inputs[0]].type == Type.FLOAT16
        }
        for kind, operator in zip(kinds, subgraph.operators, strict=True):
            if kind not in WEIGHTED or subgraph.tensors[operator.inputs[0]].type != Type.FLOAT32:
                continue
            operator.inputs = operator.inputs.tolist()  # the array that was read cannot be changed
            source = dequantized.get(operator.inputs[KERNEL], operator.inputs[KERNEL])
            operator.inputs[KERNEL] = source
            kernel = subgraph.tensors[source]
            if kernel.type in STORED and model.buffers[kernel.buffer].data is not None:
                yield kernel
        unused = dequantized.keys() - {
            index for operator in subgraph.operators for index in operator.inputs
        }
        subgraph.operators = [
            operator for operator in subgraph.operators if operator.outputs[0] not in unused
        ]


def _stored(tensor: schema.TensorT, content: np.ndarray) -> tuple[Kernel, bytes]:
    """Return how a kernel is stored, and its bytes."""
    values = content.view(STORED[tensor.type])
    scales, run = np.empty(0, "<f4"), 1
    if tensor.type == Type.INT8:
        scales = np.asarray(tensor.quantization.scale, "<f4")
        channel = tensor.quantization.quantizedDimension if len(scales) > 1 else -1
        run = int(np.prod(tensor.shape[channel + 1 :]))
    padding = bytes(_filled_up(values.nbytes) - values.nbytes)
    return (
        Kernel(len(values), len(scales), run),
        scales.tobytes() + values.tobytes() + padding,
    )


def _filled_up(size: int) -> int:
    return size + -size % 4


def _clear_unused(model: schema.ModelT) -> None:
    """Empty the buffers that are no longer used."""
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {entry.buffer for entry in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def _packed(model: schema.ModelT, kernels: list[Kernel], start: int) -> bytes:
    """Return the file of a graph whose last buffers are those of kernels, at `start` and after."""
    kernel_buffers = model.buffers[len(model.buffers) - len(kernels) :]
    for buffer, kernel in zip(kernel_buffers, kernels, strict=True):
        buffer.offset, buffer.size = start, 4 * kernel.values
        start += buffer.size
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    return content + bytes(-len(content) % ALIGNMENT)
