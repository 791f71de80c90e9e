"""Fixtures that several tests share: a small prepared folder and finished run, made once."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may depend on the network
os.environ.pop("FACE_DETECTOR", None)  # nor on what this machine has
os.environ.pop("MODEL_ID", None)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="cache-")  # nor on earlier searches

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from space.photos import model_input
from tests.drawing import draw_face, quick_search, write_source
from tests.serving import SPACE, make_environment
from training.config import PrepareConfig, TrainConfig
from training.data.prepare import prepare
from training.errors import UserError

SLOW_FIXTURES = {"space_python", "page_log", "hub", "pushed", "kaggle", "cluster", "packages"}
SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = {
    "backbone_weights": "none",
    "input_size": 64,
    "hidden_units": 16,
    "batch_size": 8,
    "learning_rate": 1e-3,
    **dict.fromkeys(("rotation", "shift", "zoom"), 0.0),  # slowest to compile
}
FACES = np.stack([model_input(draw_face(n, 64, tinted=bool(n % 2)), 64) for n in range(12)])


@pytest.hookimpl(tryfirst=True)  # before tests are deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow the tests that start pages or clients of a Hub in processes of their own.

    Files with slow tests run first, so that no worker waits for another at the end.
    """
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder, which the first worker that needs it makes. No test may change it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # shared by all workers
    folder, marker = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not marker.exists():
            make(folder)
            marker.touch()
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos, on machines that have it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real photos of {SHARED}, which are not redistributed")
    return SHARED


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces in the layout of the Kaggle archive."""
    # Enough for 20 photos in the smallest split.
    return made_once(tmp_path_factory, "archive", partial(write_source, per_label=72))


@pytest.fixture(scope="session")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn faces, prepared."""

    def make(folder: Path) -> None:
        with quick_search():
            prepare(PrepareConfig(source=(str(source),), output=folder, size=64))

    return made_once(tmp_path_factory, "faces", make)


@pytest.fixture
def _quick_search() -> Iterator[None]:
    """Skip searches that find nothing in drawings."""
    with quick_search():
        yield


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs on the drawn faces."""

    def make(folder: Path) -> None:
        from tests.networks import small_networks
        from training.fit.train import train

        with small_networks():
            train(TrainConfig(data=data, run=folder, epochs=2, **TINY))

    return made_once(tmp_path_factory, "tiny", make)


@pytest.fixture(scope="session")
def spread(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with a network whose answers differ between faces, and its export."""

    def make(folder: Path) -> None:
        from training.ship.export import export

        shutil.copytree(run, folder)
        _spread_answers(folder)
        with pytest.MonkeyPatch.context() as patch:
            # The AUC of so rough a network on 20 photos is noise; the gate has its own test.
            patch.setattr("training.ship.export.choose_variant", lambda variants, auc: variants[0])
            export(folder, data, folder / "export", samples=20)

    return made_once(tmp_path_factory, "spread", make)


def _spread_answers(run: Path) -> None:
    import keras

    from tests.networks import small_networks, spread_answers
    from training.fit.network import build_model

    keras.utils.set_random_seed(1)  # the same network every time
    names = ("backbone_weights", "input_size", "hidden_units")
    with small_networks():
        model = build_model(**{name: TINY[name] for name in names}, trainable_layers=20, seed=1)
    spread_answers(model, FACES)
    for name in ("deepfake_cnn.keras", "deepfake_cnn.h5"):
        model.save(run / name)


@pytest.fixture(scope="session")
def exported(spread: Path) -> Path:
    """The export of the `spread` run."""
    return spread / "export"


@pytest.fixture(scope="session")
def space_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with the Space's packages only."""
    return make_environment(tmp_path_factory.mktemp("space-environment"))


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browser page's npm packages, with its tools for types, lint and accessibility.

    They are installed once for all workers.
    """
    from training.ship.web import install_packages

    if shutil.which("npm") is None:
        pytest.skip("needs npm, which comes with Node.js")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "npm"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "node_modules").is_dir():
            folder.mkdir(exist_ok=True)
            try:
                install_packages(folder, development=True)
            except UserError as error:
                shutil.rmtree(folder)
                pytest.skip(f"needs what npm installs: {error}")
    return folder / "node_modules"


@pytest.fixture
def uploaded() -> Iterator[Callable[[Path], dict]]:
    """Copy files to where the page puts uploads; remove them afterwards."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)

    def upload(path: Path) -> dict:
        return {"path": shutil.copy(path, folder), "orig_name": path.name}

    yield upload
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of four seconds in which a portrait moves over a wall."""
    return write_portrait_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=4)


def write_portrait_clip(path: Path, seconds: int) -> Path:
    """Write a clip in which a portrait moves to and fro over a wall; return its path."""
    import cv2

    portrait = cv2.imread(str(SPACE / "examples/portrait.jpg"))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (480, 320))
    for number in range(10 * seconds):
        left = 20 + 4 * abs(40 - number % 80)
        frame = np.full((320, 480, 3), 150, np.uint8)
        frame[10:310, left : left + 300] = portrait[:, : 480 - left]
        writer.write(frame)
    writer.release()
    return path
