"""Make the page that judges in the visitor's own browser: `python -m training web OUT`.

`OUT` holds files that any static host serves, for example `python -m http.server -d OUT`: the page
from `space/browser/`, the runtime from npm by the lockfile there, the exported network, and YuNet
as a LiteRT graph. The page contacts no other server.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow

from space.contract import CONFIG_FILE, FINDER_CONFIG_FILE, FINDER_FILE, MODEL_FILE
from space.detector import BUNDLED, Detector
from space.yunet import YuNet
from training.errors import UserError
from training.folders import check_replaceable, replaced_folder
from training.measure.scores import load_detector
from training.ship.face_finder import copy_face_finder
from training.ship.float_graph import take_weights

SPACE = BUNDLED.parent
PAGE = SPACE / "browser"
PAGE_FILES = ("*.html", "*.css", "*.js", "*.svg", "*.txt", "README.md")
PACKAGES = ("package.json", "package-lock.json")
FILE_LIST = "files.js"  # identifies a page that this module made
RUNTIMES = ("litert_wasm_internal", "litert_wasm_compat_internal")  # with relaxed SIMD, and without
LIBRARY, HELPERS = "@litertjs/core", "@litertjs/wasm-utils"
UNPACKER = "fzstd"
KERNELS = "resample.wat"  # compiled to WebAssembly, as browsers cannot read the text format
COMPILER = "wabt/bin/wat2wasm"
LEVEL = 19  # of Zstandard; higher levels need more memory to unpack
EXAMPLES = SPACE / "examples"
SELF_TEST = "portrait.jpg"
ONE_PHOTO = 1  # batch size; the browser's runtime does not support a dynamic one
# What the service worker stores on the first visit. It stores the rest on first use, as only one of
# the two runtimes is used.
SMALL_FILES = {".html", ".css", ".js", ".svg", ".json", ".jpg", ".txt", ".wasm"}

log = logging.getLogger(__name__)


def web(output: Path, *, model: Path | None = None, packages: Path | None = None) -> Path:
    """Write the page's folder, and return it.

    Args:
        output: folder to write; an earlier page is replaced.
        model: folder of an exported model; by default the bundled one.
        packages: `node_modules` with what the lockfile names; by default npm fetches it.

    Raises:
        UserError: `output` holds something else, the model or YuNet is unavailable, or npm fails.
    """
    check_replaceable(output, FILE_LIST)
    model = model or BUNDLED
    detector = load_detector(model)
    with replaced_folder(output, FILE_LIST) as folder:
        for pattern in PAGE_FILES:
            for path in PAGE.glob(pattern):
                shutil.copyfile(path, folder / path.name)
        shutil.copytree(EXAMPLES, folder / "examples")
        with tempfile.TemporaryDirectory() as temporary:
            installed = packages or install_packages(Path(temporary))
            _copy_runtime(folder / "litert", installed)
            _compile_kernels(folder, installed)
        _write_networks(folder / "model", model, detector)
        megabytes = _write_list(folder)
    log.info(
        "%s: written. A visitor downloads %.1f MB, less where the host compresses text. To try it: "
        "python -m http.server -d %s",
        output,
        megabytes,
        output,
    )
    return output


def install_packages(folder: Path, *, development: bool = False) -> Path:
    """Install what the lockfile names with npm, and return `node_modules`.

    Args:
        folder: to install into; `package.json` and the lockfile are copied there.
        development: install what only types, lint and tests need as well.

    Raises:
        UserError: npm is missing or fails.
    """
    for name in PACKAGES:
        shutil.copyfile(PAGE / name, folder / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    command += [] if development else ["--omit=dev"]
    log.info("npm installs the runtime; this takes a few seconds.")
    _run(command, "install the page's packages", "check the network", folder)
    return folder / "node_modules"


def _run(command: Sequence[str | Path], what: str, advice: str, folder: Path | None = None) -> None:
    """Run a program that comes with Node.js.

    Raises:
        UserError: it is not installed, or fails.
    """
    program = shutil.which(command[0])
    if program is None:
        raise UserError(f"{command[0]} is not installed: install Node.js, which brings it.")
    result = subprocess.run(
        [program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise UserError(f"{command[0]} cannot {what} ({lines[0]}): {advice}.")


def with_batch_of_one(graph: bytes) -> bytes:
    """Return a LiteRT graph of any batch size with its batch size set to 1.

    Args:
        graph: content of a `.tflite` file whose shape signatures have -1 only as first dimension.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(graph)
    model = schema.Model.GetRootAsModel(content, 0)
    for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(subgraph.Tensors, range(subgraph.TensorsLength())):
            if tensor.ShapeSignatureLength() and tensor.ShapeSignature(0) < 0:
                tensor.ShapeSignatureAsNumpy()[0] = ONE_PHOTO  # a view of the content
    return bytes(content)


def _copy_runtime(folder: Path, packages: Path) -> None:
    """Copy the runtime with relative imports, as browsers do not resolve package names."""
    folder.mkdir()
    library, helpers = packages / LIBRARY, packages / HELPERS
    code = (library / "dist/index.js").read_text(encoding="utf-8")
    rewritten = code.replace(f'"{HELPERS}"', '"./wasm-utils.js"')
    if rewritten == code:
        raise UserError(f"{library} imports no {HELPERS}: keep to the version of the lockfile.")
    (folder / "core.js").write_text(_unmapped(rewritten), encoding="utf-8")
    code = (helpers / "dist/index.js").read_text(encoding="utf-8")
    (folder / "wasm-utils.js").write_text(_unmapped(code), encoding="utf-8")
    shutil.copyfile(packages / UNPACKER / "esm/index.mjs", folder / f"{UNPACKER}.js")
    for name in RUNTIMES:
        shutil.copyfile(library / f"wasm/{name}.js", folder / f"{name}.js")
        _write_packed(folder / f"{name}.wasm", (library / f"wasm/{name}.wasm").read_bytes())


def _compile_kernels(folder: Path, packages: Path) -> None:
    """Compile the kernels that resample pictures."""
    output = (folder / KERNELS).with_suffix(".wasm")
    command = ["node", packages / COMPILER, PAGE / KERNELS, "-o", output]
    _run(command, f"compile {KERNELS}", "keep to the versions of the lockfile")


def _unmapped(code: str) -> str:
    """Return a module without the line that names its source map, which is not copied."""
    lines = code.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("//# sourceMappingURL="))


def _write_networks(folder: Path, model: Path, detector: Detector) -> None:
    """Write both networks compressed, as few hosts compress such files in transit."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        copy_face_finder(model, Path(temporary))
        finder = Path(temporary, FINDER_FILE)
        _write_packed(folder / FINDER_FILE, finder.read_bytes())
        shutil.copyfile(Path(temporary, FINDER_CONFIG_FILE), folder / FINDER_CONFIG_FILE)
        _write_self_test(folder / "selftest.json", detector, YuNet(finder, ""))
    shutil.copyfile(model / CONFIG_FILE, folder / CONFIG_FILE)
    network = take_weights(with_batch_of_one((model / MODEL_FILE).read_bytes()))
    _write_packed(folder / "detector_graph.tflite", network.graph)
    _write_packed(folder / "detector_weights.bin", network.weights)
    kernels = [asdict(kernel) for kernel in network.kernels]
    (folder / "detector_weights.json").write_text(json.dumps(kernels), encoding="utf-8")


def _write_packed(path: Path, content: bytes) -> None:
    """Write a file as `NAME.zst`; the same content gives the same file."""
    packed = pyarrow.Codec("zstd", compression_level=LEVEL).compress(content, asbytes=True)
    path.with_name(f"{path.name}.zst").write_bytes(packed)


def _write_self_test(path: Path, detector: Detector, finder: YuNet) -> None:
    """Write Python's answer for the picture with which the page tests itself at its start."""
    judgements = detector.judge(EXAMPLES / SELF_TEST, finder)
    if len(judgements) != 1:
        raise UserError(f"YuNet finds {len(judgements)} faces in {SELF_TEST}: name YuNet's file.")
    (judgement,) = judgements
    answer = {
        "picture": f"./examples/{SELF_TEST}",
        "box": judgement.face.box,
        "probability": judgement.prediction.probability,
    }
    path.write_text(json.dumps(answer), encoding="utf-8")


def _write_list(folder: Path) -> float:
    """Write the list of the page's files; return the megabytes that a visitor downloads.

    The list has a version that changes with any of the files.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    digest = hashlib.sha256()
    for name, path in zip(names, paths, strict=True):
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    # A visitor needs only one of the two runtimes.
    spare = {name for name in names if Path(name).name.startswith(RUNTIMES[1])}
    used = [path for path, name in zip(paths, names, strict=True) if name not in spare]
    megabytes = round(sum(path.stat().st_size for path in used) / 1e6, 1)
    names.append(FILE_LIST)
    first = [name for name in names if Path(name).suffix in SMALL_FILES and name not in spare]
    files = {
        "version": digest.hexdigest()[:16],
        "megabytes": megabytes,
        "first": first,
        "later": [name for name in names if name not in first],
    }
    text = f"self.FILES = {json.dumps(files, indent=1)};\n"
    (folder / FILE_LIST).write_text(text, encoding="utf-8")
    return megabytes
