"""Take a network out of an exported model: `python -m training recover MODEL --run RUN`.

What is served can be asked, not trained. Where the run behind it is gone and its data is not, this
gives a run to go on from (`train --start-from`), to learn from (`--teacher`) or to export anew.

An export holds batch normalisation within the convolutions, so that how the activations are
distributed is lost: it is measured anew on training photos, and leaves the answers as they are.
Weights of eight bits stay as coarse as they were, and of dropout nothing is known.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tqdm import tqdm

from space.contract import MODEL_FILE
from space.detector import Detector
from training.config import CONFIG, FINAL
from training.dataset import draw_inputs, read_report
from training.errors import UserError
from training.evaluate import exported_fingerprint, load_detector
from training.fit import describe_data, package_versions
from training.folders import check_replaceable, replaced_folder
from training.model import EVIDENCE, build_model, photo_normalization

MEASURED = 256  # photos of the training split, that activations are measured on
MAX_DIFFERENCE = 0.05  # of the probabilities, on average: the export's activations may be int8
KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
NORM = "evidence_norm"  # the only batch normalisation that no convolution comes right before
PHOTOS = "photos"  # named like a layer: what they meet before the first one
TYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "INT32": np.int32}

log = logging.getLogger(__name__)


def recover(model: Path, data: Path, run: Path) -> Path:
    """Write a run's folder with the network of an exported model, and return it.

    Args:
        model: folder of an exported model with the head `evidence`, trained on faces that were
            cropped as it crops them.
        data: the prepared folder that it was trained on.
        run: folder to write, with `deepfake_cnn.keras` and `config.json`.

    Raises:
        UserError: there is a run already, the data is other than the model's, the model has the
            other head or another layout, or what comes out does not judge as it does.
    """
    if (run / CONFIG).exists():
        raise UserError(f"{run} holds a run already: give another --run.")
    check_replaceable(run, CONFIG)
    detector, report = load_detector(model), read_report(data)
    if exported_fingerprint(model) != report["fingerprint"]:
        raise UserError(f"{data} is not the data that {model} was trained on: give its --data.")
    constants = read_constants((Path(model) / MODEL_FILE).read_bytes())
    if not {EVIDENCE, NORM} <= constants.keys():
        raise UserError(f"{model} has not the head `evidence`, and no other can be recovered.")
    size, margin = detector.config.input_size, detector.config.crop_margin
    network = _build(constants, size)
    photos = draw_inputs(data, MEASURED, size, margin)
    _measure_activations(network, photos)
    _check(network, detector, photos)
    description = {
        "settings": {
            "head": EVIDENCE,
            "input_size": size,
            "crop_margin": margin,
            "hidden_units": len(constants[NORM][0]),
            "recovered_from": detector.config.sha256,
        },
        "data": describe_data(report),
        "versions": package_versions(),
    }
    with replaced_folder(run, CONFIG) as folder:
        network.save(folder / FINAL)
        (folder / CONFIG).write_text(json.dumps(description, indent=2) + "\n")
    return run


def read_constants(graph: bytes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what a graph computes with, by the Keras names of its layers, in `float32`.

    Args:
        graph: content of a `.tflite` file that `training.saliency.with_heatmap` was exported to.

    Returns:
        Kernel and bias of each layer that has a kernel, as LiteRT lays them out; factor and shift
        of `evidence_norm`; and as `photos` those that photos meet before the first kernel.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(graph, 0))
    main = model.subgraphs[0]
    operators = [(_kind(model, operator), operator) for operator in main.operators]
    # Constants in float16 are made float32 by an operation of their own.
    widened = {one.outputs[0]: one.inputs[0] for kind, one in operators if kind == "DEQUANTIZE"}
    found: dict[str, tuple] = {PHOTOS: (np.ones(3, np.float32), np.zeros(3, np.float32))}
    for kind, operator in operators:
        tensors = [main.tensors[widened.get(index, index)] for index in operator.inputs[1:]]
        constants = [_value(graph, model, tensor) for tensor in tensors]
        if not constants or constants[0] is None:
            continue
        if kind in KERNELS and len(constants) > 1:
            name = _layer(tensors[0].name, main.tensors[operator.outputs[0]].name)
            found[name] = constants[0], constants[1]
        elif kind in ("MUL", "ADD", "SUB"):
            name = NORM if f"{NORM}_".encode() in tensors[0].name else PHOTOS
            if name == NORM or len(found) == 1:  # no kernel came yet
                factor, shift = found.get(name, (1.0, 0.0))
                found[name] = _follow(kind, factor, shift, constants[0].reshape(-1))
    return found


def _follow(kind: str, factor, shift, constant) -> tuple:
    """Return factor and shift of what multiplies, adds or subtracts a constant after them."""
    if kind == "MUL":
        return factor * constant, shift * constant
    return factor, shift + (constant if kind == "ADD" else -constant)


def _kind(model: schema.ModelT, operator: schema.OperatorT) -> str:
    code = model.operatorCodes[operator.opcodeIndex]  # older files have it in the second field
    return _names(schema.BuiltinOperator)[max(code.builtinCode, code.deprecatedBuiltinCode)]


@cache
def _names(enumeration: type) -> dict[int, str]:
    """Return the names of a schema's enumeration, which is a class of integers, by their value."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _layer(*names: bytes) -> str:
    """Return the Keras layer of a kernel from its name and that of what it gives out.

    They hold `MODEL_1/LAYER_1/OPERATION`, and after semicolons the same of what was folded in.
    """
    layers = re.findall(r"\w+/(\w+?)(?:_\d+)?/", ";".join(name.decode() for name in names))
    return next((name for name in layers if not re.search("(bn|pad|norm)$", name)), "")


def _value(graph: bytes, model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray | None:
    """Return a constant as `float32`, with the scales of what is quantised, or `None` for what is
    no constant of such a type."""
    kind = TYPES.get(_names(schema.TensorType)[tensor.type])
    buffer = model.buffers[tensor.buffer]
    # What the quantizer writes lies behind the part of the file that the schema describes.
    behind = graph[buffer.offset : buffer.offset + buffer.size]
    content = behind if buffer.data is None else buffer.data
    if kind is None or not len(content):
        return None
    value = np.frombuffer(content, kind).astype(np.float32).reshape(tensor.shape)
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return value
    zero, scale = np.float32(quantization.zeroPoint), np.float32(quantization.scale)
    if len(scale) == 1:
        return (value - zero[0]) * scale[0]
    along = [1] * value.ndim
    along[quantization.quantizedDimension] = -1
    return (value - zero.reshape(along)) * scale.reshape(along)


def _build(constants: Mapping[str, tuple], input_size: int) -> keras.Model:
    """Return a network that computes with a graph's constants.

    Raises:
        UserError: a layer is missing, or there are others.
    """
    kernels = dict(constants)
    scaling, (factor, shift) = kernels.pop(PHOTOS), kernels.pop(NORM)
    network = build_model(
        backbone_weights="none",
        trainable_layers=0,
        head=EVIDENCE,
        input_size=input_size,
        hidden_units=len(factor),
    )
    differing = kernels.keys() ^ {one.name for one in network.layers if hasattr(one, "kernel")}
    if differing:
        raise UserError(f"The model has other layers than an export: {', '.join(differing)}.")
    _normalise_photos(network, *scaling)
    _set_norm(network.get_layer(NORM), factor=factor, shift=shift)
    for name, (kernel, bias) in kernels.items():
        layer = network.get_layer(name)
        order = (1, 0) if kernel.ndim == 2 else (1, 2, 3, 0)
        weights = [kernel.transpose(order).reshape(layer.kernel.shape)]
        layer.set_weights([*weights, bias] if layer.use_bias else weights)
        if not layer.use_bias:  # the normalisation that follows was folded into it
            norm = network.get_layer(name.replace("dwconv", "bn").replace("conv", "bn"))
            _set_norm(norm, factor=np.ones_like(bias), shift=bias)
    # The last bias has taken up the constant that the pooling subtracts.
    kernel, bias = network.layers[-1].get_weights()
    constant = network.get_layer("evidence_pooled").offset
    network.layers[-1].set_weights([kernel, bias - constant * kernel[0]])
    return network


def _normalise_photos(network: keras.Model, factor: np.ndarray, shift: np.ndarray) -> None:
    """Let a network multiply the channels of photos of 0 to 255 by factors and add shifts."""
    deviation = 1 / (255 * factor)  # Keras rescales them to 0 to 1 first
    norm = photo_normalization(network)
    norm.set_weights([-shift * deviation, deviation**2, np.array(0)])
    norm.finalize_state()


def _measure_activations(network: keras.Model, photos: np.ndarray) -> None:
    """Give normalisations the statistics of what comes in, and let them do what they did."""
    kind = keras.layers.BatchNormalization
    norms = [layer for layer in network.layers if isinstance(layer, kind)]
    taps = keras.Model(network.input, [norm.input for norm in norms])
    moments = []
    for photo in tqdm(photos, desc="Measuring activations", unit="photo"):
        values = [np.asarray(one, np.float64) for one in taps.predict_on_batch(photo[None])]
        moments.append([(one.mean((0, 1, 2)), (one**2).mean((0, 1, 2))) for one in values])
    for norm, of_norm in zip(norms, zip(*moments, strict=True), strict=True):
        mean, square = np.mean(of_norm, axis=0)
        gamma, beta, _, variance = norm.get_weights()
        factor = gamma / np.sqrt(variance + norm.epsilon)
        _set_norm(norm, factor=factor, shift=beta, mean=mean, variance=square - mean**2)


def _set_norm(norm, *, factor, shift, mean=0.0, variance=1.0) -> None:
    """Let a normalisation multiply by `factor` and add `shift`, with whatever statistics."""
    mean, variance = (np.broadcast_to(value, shift.shape) for value in (mean, variance))
    gamma = factor * np.sqrt(variance + norm.epsilon)
    norm.set_weights([gamma, shift + factor * mean, mean, variance])


def _check(network: keras.Model, detector: Detector, photos: np.ndarray) -> None:
    """Compare the answers with the model's; raise `UserError` where they are others."""
    theirs, _ = detector.run(photos)
    difference = float(np.abs(network.predict(photos, verbose=0) - theirs).mean())
    log.info("Its probabilities differ from those of the model by %.3f on average.", difference)
    if not difference <= MAX_DIFFERENCE:
        raise UserError(
            f"What was recovered does not judge as the model does (its probabilities differ by "
            f"{difference:.2f} on average): train anew."
        )
