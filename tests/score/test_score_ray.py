import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.dataset
import pytest
from datasets import Dataset, Features, Image

from tests.drawing import draw_face
from training.__main__ import main
from training.score.rows import SCHEMA

ray = pytest.importorskip("ray", reason='needs `pip install "ray[data]"`')
pytest.importorskip("ray.data", reason='needs `pip install "ray[data]"`')

from ray.cluster_utils import Cluster  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one core each, on this machine."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def listed(tmp_path) -> Path:
    """A list of five photos, sixty times each, and one missing photo."""
    for seed in range(5):
        draw_face(seed, 64).save(tmp_path / f"{seed}.png")
    names = [f"{tmp_path}/{seed}.png" for seed in range(5)] * 60
    (tmp_path / "list.txt").write_text("\n".join([*names, f"{tmp_path}/missing.png"]))
    return tmp_path / "list.txt"


class Watch(threading.Thread):
    """Watches the processes in which Ray runs our actors, and kills the first one at work.

    Attributes:
        killed: ID of the killed process, or `None`.
        nodes: IDs of the node processes of all actors that were at work.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.killed: int | None = None
        self.nodes: set[str] = set()
        self._done = threading.Event()

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.01):
            for process, node in self._at_work():
                self.nodes.add(node)
                if self.killed is None:
                    self.killed = process
                    os.kill(process, signal.SIGKILL)

    def _at_work(self) -> Iterator[tuple[int, str]]:
        for folder in Path("/proc").iterdir():
            with suppress(OSError):  # not a process, or already ended
                title = (folder / "cmdline").read_text()
                if title.startswith("ray::MapWorker(MapBatches(RayScorer)).submit"):
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    yield int(folder.name), parent


def test_death_of_a_worker_costs_no_row_and_doubles_none(cluster, listed, tmp_path):
    output = tmp_path / "rows.parquet"
    flags = ["--whole-picture", "--engine", "ray", "--address", cluster.address]
    with Watch() as watch:
        assert main(["score", str(listed), "--output", str(output), *flags]) == 0
    assert watch.killed
    assert len(watch.nodes) == 2
    table = pyarrow.dataset.dataset(output, format="parquet").to_table()
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert Counter(row["file"] for row in rows) == Counter(listed.read_text().splitlines())
    assert len({(row["file"], row["probability"], row["verdict"]) for row in rows}) == 6
    assert [row["file"] for row in rows if row["error"]] == [f"{tmp_path}/missing.png"]


@pytest.mark.parametrize(
    ("where", "output", "found"),
    [
        ("list.txt", "rows.csv", "rows.csv does not end in .parquet"),
        ("list.txt", "there.parquet", "there.parquet exists already"),
        ("data", "rows.parquet", "data is a dataset: --engine ray takes"),
    ],
)
def test_mistakes_are_told_before_ray_is_asked(
    listed, tmp_path, monkeypatch, capsys, where, output, found
):
    monkeypatch.chdir(tmp_path)
    Path("there.parquet").mkdir()
    image = {"bytes": Path("0.png").read_bytes(), "path": None}
    Dataset.from_dict({"image": [image]}, Features(image=Image())).save_to_disk("data")
    assert main(["score", where, "--output", output, "--engine", "ray"]) == 2
    assert found in capsys.readouterr().err
