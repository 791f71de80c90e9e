"""YuNet as a LiteRT graph; every build of a page checks that it answers like OpenCV's."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from training.errors import UserError
from training.ship.yunet_graph import ResizableGraph, convert_yunet


def test_numbers_that_depend_on_the_size_are_written_anew():
    graph = ResizableGraph(
        np.arange(6, dtype="<i4").tobytes(), ((4, 2, 8, 0, 0), (12, 0, 0, 1, 64))
    )
    words = np.frombuffer(graph.resized(3, 7), "<i4")
    assert words.tolist() == [0, 2 + 8 * 3, 2, 7 + 64 * 3 * 7, 4, 5]


def test_other_files_are_refused_in_a_sentence(tmp_path: Path):
    text, other, missing = tmp_path / "text.onnx", tmp_path / "other.onnx", tmp_path / "none.onnx"
    text.write_text("no network")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    node = helper.make_node("Identity", ["a"], ["b"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])), other)
    with pytest.raises(UserError, match="cannot be read as an ONNX file"):
        convert_yunet(text)
    with pytest.raises(UserError, match="cannot be read as an ONNX file"):
        convert_yunet(missing)
    with pytest.raises(UserError, match="is another network"):
        convert_yunet(other)
