"""The face finder YuNet beside a model: `face_finder.tflite`, and `face_finder.json` about it.

LiteRT takes about half of OpenCV's time for the same detections. The file is made from weights that
are not ours, so it is written when a model is exported or pushed, and is not part of this project.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

from space.contract import FINDER_CONFIG_FILE, FINDER_FILE
from space.faces import FaceFinderError
from space.yunet_files import YUNET_REPOSITORY, YUNET_SHA256, converted_yunet, fetch_yunet
from space.yunet_networks import LITERT_SUFFIX
from training.errors import UserError
from training.folders import replaced_file, sha256_of

LICENCE = Path(__file__).with_name("yunet_licence.txt")  # MIT; it must go with every copy
SOURCE = f"https://huggingface.co/{YUNET_REPOSITORY}"

log = logging.getLogger(__name__)


def add_face_finder(folder: Path) -> bool:
    """Convert YuNet into a model folder, unless it is there or YuNet's file is unavailable.

    Returns:
        Whether the folder holds it.

    Raises:
        UserError: the converted file is damaged, or this TensorFlow cannot convert YuNet.
    """
    if _held_by(folder):
        return True
    try:
        path = find_yunet()
    except UserError as error:
        log.info("No %s is written: %s", FINDER_FILE, error)
        return False
    if sha256_of(path) not in YUNET_SHA256:
        log.info("No %s is written: %s is not YuNet's published file.", FINDER_FILE, path)
        return False
    write_face_finder(folder, path)
    return True


def copy_face_finder(model: Path, folder: Path) -> None:
    """Copy the face finder of a model folder to another folder; convert YuNet if it has none.

    Raises:
        UserError: it is damaged, or YuNet is unavailable or cannot be converted.
    """
    if not _held_by(model):
        write_face_finder(folder, find_yunet())
        return
    for name in (FINDER_FILE, FINDER_CONFIG_FILE):
        shutil.copyfile(model / name, folder / name)


def write_face_finder(folder: Path, path: Path) -> None:
    """Convert YuNet, and check its outputs against OpenCV's.

    Args:
        folder: where both files are written.
        path: YuNet's ONNX file.

    Raises:
        UserError: the file is not a YuNet network, or this TensorFlow cannot convert it.
    """
    from training.ship.yunet_graph import check_against_opencv, convert_yunet

    log.info("Converting YuNet to LiteRT; this takes a minute.")
    graph = convert_yunet(path)
    check_against_opencv(graph, path)
    description = {
        "name": "YuNet",
        "source": SOURCE,
        "licence": LICENCE.read_text(encoding="utf-8"),
        "made_from": sha256_of(path),
        "sha256": hashlib.sha256(graph.content).hexdigest(),
        # For runtimes that cannot resize a graph, such as the browser's: `ResizableGraph.numbers`.
        "sizes": graph.numbers,
    }
    for name, content in (
        (FINDER_FILE, graph.content),
        (FINDER_CONFIG_FILE, json.dumps(description).encode()),
    ):
        with replaced_file(folder / name) as partial:
            partial.write_bytes(content)


def find_yunet() -> Path:
    """Return YuNet's ONNX file: the one that `FACE_DETECTOR` names, else the Hub's.

    Raises:
        UserError: it is missing or cannot be fetched.
    """
    path = os.environ.get("FACE_DETECTOR")
    if path and not path.endswith(LITERT_SUFFIX):
        if not Path(path).is_file():
            raise UserError(f"FACE_DETECTOR names {path}, which is not a file: name YuNet's file.")
        return Path(path)
    try:
        return fetch_yunet()
    except FaceFinderError as error:
        raise UserError(str(error)) from error


def _held_by(folder: Path) -> bool:
    try:
        return converted_yunet(folder) is not None
    except FaceFinderError as error:
        raise UserError(str(error)) from error
