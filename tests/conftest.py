"""What several tests share: a small prepared folder and a small finished run."""

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
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from space.photos import model_input
from tests.drawing import draw_face, write_source
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
}
FACES = np.stack([model_input(draw_face(n, 64, tinted=bool(n % 2)), 64) for n in range(12)])


@pytest.hookimpl(tryfirst=True)  # before what is not wanted is deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts pages, or clients of a Hub, in processes of their own."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos, on machines that have it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real photos of {SHARED}, which are not redistributed")
    return SHARED


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces in the layout of the Kaggle archive."""
    return write_source(
        tmp_path_factory.mktemp("source") / "archive", per_label=72
    )  # 20 in the smallest split


@pytest.fixture(scope="session")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn faces, prepared."""
    output = tmp_path_factory.mktemp("prepared") / "faces"
    return prepare(PrepareConfig(source=(str(source),), output=output, size=64))


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs on the drawn faces."""
    from tests.networks import small_networks
    from training.fit.train import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with small_networks():
        return train(TrainConfig(data=data, run=folder, epochs=2, **TINY))


@pytest.fixture(scope="session")
def spread(run, tmp_path_factory) -> Path:
    """The run, with a network that gives different faces different answers."""
    import keras

    from tests.networks import small_networks, spread_answers
    from training.fit.network import build_model

    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("spread") / "run"))
    keras.utils.set_random_seed(1)  # the same network every time
    names = ("backbone_weights", "input_size", "hidden_units")
    with small_networks():
        model = build_model(**{name: TINY[name] for name in names}, trainable_layers=20, seed=1)
    spread_answers(model, FACES)
    for name in ("deepfake_cnn.keras", "deepfake_cnn.h5"):
        model.save(folder / name)
    return folder


@pytest.fixture(scope="session")
def graph(spread) -> bytes:
    """Its float32 graph; converting takes some seconds, so it is done once."""
    import keras

    from training.ship.export import export_graph

    return export_graph(keras.models.load_model(spread / "deepfake_cnn.keras"))


@pytest.fixture(scope="session")
def exported(spread, data, graph) -> Path:
    """That run's export, in its folder."""
    from training.ship.export import export

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.ship.export.export_graph", lambda model: graph)
        # On twenty photos the AUC of so rough a network is a lottery; the gate has its own test.
        patch.setattr("training.ship.export.choose_variant", lambda variants, auc: variants[0])
        return export(spread, data, spread / "export", samples=20)


@pytest.fixture(scope="session")
def space_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with the Space's packages only."""
    return make_environment(tmp_path_factory.mktemp("space-environment"))


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What npm installs for the browser's page, also for types, lint and accessibility: once for
    all workers."""
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
    """Put files where the page puts uploads, and take them away again."""
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
    """Write a clip in which a portrait moves to and fro over a wall; return it."""
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
