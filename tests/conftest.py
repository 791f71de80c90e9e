"""What several tests share: a small prepared folder and a small finished run."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may depend on the network
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="cache-")  # nor on earlier searches

from pathlib import Path

import pytest

from tests.drawing import write_source
from training.config import PrepareConfig, TrainConfig
from training.dataset import prepare

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = {
    "backbone_weights": "none",
    "input_size": 64,
    "hidden_units": 16,
    "batch_size": 8,
    "learning_rate": 1e-3,
}


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
    return prepare(PrepareConfig(source=str(source), output=output, size=64))


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs on the drawn faces."""
    from training.fit import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return train(TrainConfig(data=data, run=folder, epochs=2, **TINY))
