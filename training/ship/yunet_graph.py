"""The face finder YuNet as a LiteRT graph of any size.

LiteRT resizes the graph to its input, as no operation in it stores a size. The browser's runtime
cannot, so the graph comes with a list of the numbers in its file that depend on the size.
Overwriting them gives the graph for another size, with the same weights. So the page in the browser
searches pictures of any size with one file of a quarter of a megabyte.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from space.yunet_networks import OUTPUTS
from training.errors import UserError

if TYPE_CHECKING:
    import onnx
    import tensorflow as tf

STEP = 64  # px: sides are multiples of it
BASE = (10, 10)  # height and width of the graph as it is stored, in steps
PROBES = (BASE, (10, 11), (11, 10), (11, 11))  # sizes that show how the numbers depend on them
CHECKED = (3, 7)  # a size that is not among these, to check the result
# Numbers that depend on the size are not larger. The converter's fingerprint is, which is unused.
LARGEST = 2**24
TOLERANCE = 1e-3  # between two runtimes, for values up to about 10


@dataclass(frozen=True)
class ResizableGraph:
    """A LiteRT graph whose input size can be changed in its file.

    Attributes:
        content: the file, for pictures of `BASE` steps.
        numbers: `[offset, constant, by height, by width, by area]` of each number (a little-endian
            `int32`) that depends on the size; with height h and width w in steps of 64 px, it is
            `constant + by height * h + by width * w + by area * h * w`.
    """

    content: bytes
    numbers: tuple[tuple[int, int, int, int, int], ...]

    def resized(self, height: int, width: int) -> bytes:
        """Return the file for pictures of another size.

        Args:
            height: in steps of 64 px.
            width: in steps of 64 px.
        """
        words = np.frombuffer(self.content, "<i4").copy()
        for offset, constant, by_height, by_width, by_area in self.numbers:
            words[offset // 4] = (
                constant + by_height * height + by_width * width + by_area * height * width
            )
        return words.tobytes()


def convert_yunet(path: Path) -> ResizableGraph:
    """Convert YuNet's ONNX file.

    The graph takes `image`, `float32` `[1, height, width, 3]`, BGR from 0 to 255, and gives
    OpenCV's outputs: `cls_8`, `obj_8`, `bbox_8`, `kps_8` and so on, each `[1, places, values]`.

    Raises:
        UserError: the file is not a YuNet network.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    network = _Network(path)
    files = [np.frombuffer(network.graph(*size), "<i4") for size in PROBES]
    if len({len(words) for words in files}) > 1:
        raise UserError(f"{path} makes graphs of other layouts for other sizes: name YuNet's file.")
    stack = np.stack(files).astype(np.int64)
    differing = (stack != stack[0]).any(axis=0)
    fingerprint = differing & (np.abs(stack) > LARGEST).any(axis=0)
    places = np.flatnonzero(differing & ~fingerprint)
    numbers = tuple(_dependence(int(place), stack[:, place]) for place in places)
    graph = ResizableGraph(files[0].tobytes(), numbers)
    made, expected = (
        np.frombuffer(content, "<i4")[~fingerprint]
        for content in (graph.resized(*CHECKED), network.graph(*CHECKED))
    )
    if not np.array_equal(made, expected):
        raise UserError(f"{path} makes a graph that cannot be resized: name YuNet's file.")
    return graph


def _dependence(place: int, values: np.ndarray) -> tuple[int, int, int, int, int]:
    """Return how a number depends on the size, by its values at `PROBES`."""
    terms = np.array([[1, height, width, height * width] for height, width in PROBES])
    solution = np.rint(np.linalg.solve(terms, values)).astype(int).tolist()
    return (4 * place, *solution)


class _Network:
    """The network of an ONNX file, which can be written as a graph of any size."""

    def __init__(self, path: Path) -> None:
        import onnx
        from google.protobuf.message import DecodeError

        try:
            graph = onnx.load(path).graph
        except (OSError, DecodeError) as error:
            raise UserError(f"{path} cannot be read as an ONNX file: name YuNet's file.") from error
        if not {output.name for output in graph.output} >= set(OUTPUTS):
            raise UserError(f"{path} is another network: name YuNet's ONNX file.")
        self._input = graph.input[0].name
        self._nodes = list(graph.node)
        self._weights = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
        }

    def graph(self, height: int, width: int) -> bytes:
        """Return the LiteRT file for pictures of `height` by `width` steps."""
        import tensorflow as tf

        shape = [1, height * STEP, width * STEP, 3]
        module = tf.Module()
        module.run = tf.function(
            self._outputs, input_signature=[tf.TensorSpec(shape, tf.float32, name="image")]
        )
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures=module.run)
            return tf.lite.TFLiteConverter.from_saved_model(folder).convert()

    def _outputs(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {self._input: image}
        for node in self._nodes:
            operation = _OPERATIONS.get(node.op_type)
            if operation is None:
                raise UserError(f"The network has a {node.op_type}: name YuNet's ONNX file.")
            inputs = [values.get(name, self._weights.get(name)) for name in node.input]
            values[node.output[0]] = operation(node, inputs)
        return {name: values[name] for name in OUTPUTS}


# ONNX's operations on pictures `[1, height, width, channels]`; ONNX itself puts channels first.


def _attributes(node: onnx.NodeProto) -> dict:
    import onnx

    return {
        attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
    }


def _convolution(node: onnx.NodeProto, given: Sequence) -> tf.Tensor:
    import tensorflow as tf

    picture, kernel, bias = given
    attributes = _attributes(node)
    stride, padding = attributes["strides"][0], attributes["pads"][0]
    name = "SAME" if padding else "VALID"
    if padding and stride > 1:  # where "SAME" would pad on one side only
        picture = tf.pad(picture, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])
        name = "VALID"
    if attributes["group"] > 1:
        depthwise = kernel.transpose(2, 3, 0, 1)
        strides = [1, stride, stride, 1]
        return tf.nn.depthwise_conv2d(picture, depthwise, strides, name) + bias
    return tf.nn.conv2d(picture, kernel.transpose(2, 3, 1, 0), stride, name) + bias


def _enlarged(node: onnx.NodeProto, given: Sequence) -> tf.Tensor:
    """Return the picture at twice its size, by nearest neighbours.

    The operations used here store no size; TensorFlow's resize would write one into the graph.
    """
    import tensorflow as tf

    picture, _, scales = given
    if list(scales) != [1, 1, 2, 2]:
        raise UserError(f"The network has a Resize by {list(scales)}: name YuNet's ONNX file.")
    return tf.nn.depth_to_space(tf.concat([picture] * 4, axis=3), 2)


def _pooled(node: onnx.NodeProto, given: Sequence) -> tf.Tensor:
    import tensorflow as tf

    attributes = _attributes(node)
    return tf.nn.max_pool2d(given[0], attributes["kernel_shape"], attributes["strides"], "VALID")


def _flattened(node: onnx.NodeProto, given: Sequence) -> tf.Tensor:
    import tensorflow as tf

    return tf.reshape(given[0], [1, -1, given[0].shape[-1]])


def _activation(name: str) -> Callable:
    def apply(node: onnx.NodeProto, given: Sequence) -> tf.Tensor:
        import tensorflow as tf

        return getattr(tf.nn, name)(given[0])

    return apply


_OPERATIONS: dict[str, Callable] = {
    "Conv": _convolution,
    "Relu": _activation("relu"),
    "Sigmoid": _activation("sigmoid"),
    "MaxPool": _pooled,
    "Resize": _enlarged,
    "Add": lambda node, given: given[0] + given[1],
    "Transpose": lambda node, given: given[0],  # the picture has the target order already
    "Reshape": _flattened,
}


def check_against_opencv(graph: ResizableGraph, path: Path) -> None:
    """Check that the graph and OpenCV agree on the same pictures.

    Args:
        graph: made from `path`.
        path: YuNet's ONNX file.

    Raises:
        UserError: an output differs by more than rounding.
    """
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    network = cv2.dnn.readNetFromONNX(str(path))
    rng = np.random.default_rng(0)
    for height, width in ((6, 6), CHECKED):
        picture = rng.integers(0, 256, (height * STEP, width * STEP, 3)).astype(np.float32)
        network.setInput(cv2.dnn.blobFromImage(picture))
        expected = dict(zip(OUTPUTS, network.forward(OUTPUTS), strict=True))
        # Resized by the numbers, as in the browser, and by LiteRT itself.
        for content in (graph.resized(height, width), graph.content):
            outputs = Interpreter(model_content=content).get_signature_runner()(image=picture[None])
            for name in OUTPUTS:
                difference = np.abs(
                    outputs[name] - expected[name].reshape(outputs[name].shape)
                ).max()
                if not difference <= TOLERANCE:
                    raise UserError(
                        f"{path} as a LiteRT graph differs from OpenCV by {difference:.4f} in "
                        f"{name}: this version of TensorFlow cannot convert it."
                    )
