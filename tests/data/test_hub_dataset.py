"""Datasets that the real client fetches from a Hub on loopback."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.clients import call
from tests.drawing import draw_face
from tests.hub_server import Hub, serve_hub
from training.data.find import find_photos, locate
from training.errors import UserError

PROJECT = Path(__file__).parents[2]
FACES = "someone/faces"
OWNER, STRANGER = "hf_owner_secret", "hf_stranger_secret"
FIND = """
import sys
from training.data.find import find_photos, locate
for photo in find_photos(locate(sys.argv[1])):
    print(photo.label, photo.path)
"""


def png(seed: int) -> bytes:
    with io.BytesIO() as file:
        draw_face(seed, 40).save(file, "PNG")
        return file.getvalue()


FOLDERS = {
    "README.md": b"# Faces",
    "train/Real/a.PNG": png(1),
    "train/Fake/b.png": png(2),
    "train/Masks/b.png": png(3),
    "videos.zip": b"large",
}


def table(*names: str) -> bytes:
    """Return a Parquet file with a photo for every label."""
    images = [{"bytes": png(seed), "path": f"{seed}.png"} for seed, _ in enumerate(names)]
    with io.BytesIO() as file:
        pq.write_table(pa.table({"image": images, "label": list(names)}), file)
        return file.getvalue()


TABLES = {"data/train-0.parquet": table("real", "fake"), "data/test-0.parquet": table("Fake")}


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub({OWNER: "someone", STRANGER: "stranger"})
    with serve_hub(hub):
        yield hub
    assert hub.errors == []


def run(
    hub: Hub, home: Path, where: str = FACES, token: str | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """Find the photos of a dataset and return the output, which may show no secret."""
    variables = hub.environment(token, home) | {"XDG_CACHE_HOME": str(home / "cache")}
    result = call(partial(list_photos, f"hf:{where}"), variables | environment)
    for secret in filter(None, (OWNER, STRANGER, token)):
        assert secret not in result.stdout + result.stderr
    return result


def list_photos(where: str) -> None:
    try:
        photos = find_photos(locate(where), source="mine")
    except UserError as error:
        sys.exit(f"error: {error}")
    for photo in photos:
        print(photo.label, photo.path)


def found(result: subprocess.CompletedProcess) -> list[str]:
    """Return the label and name of every photo found."""
    assert result.returncode == 0, result.stderr
    lines = [line.split(" ", 1) for line in result.stdout.splitlines()]
    return [f"{label} {Path(path).name}" for label, path in lines]


def sentence(result: subprocess.CompletedProcess) -> str:
    """Return the one sentence with which a failed search ended."""
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stderr
    sentences = re.findall(r"^error: .*\.$", result.stderr, re.MULTILINE)
    assert len(sentences) == 1, result.stderr
    return sentences[0]


def test_folders_are_downloaded_without_the_rest_and_found_offline(hub, tmp_path):
    hub.add_repository(FACES, FOLDERS, "dataset")
    variables = os.environ | hub.environment(None, tmp_path)
    command = [sys.executable, "-c", FIND, f"hf:{FACES}"]  # a process of its own, as users start it
    first = subprocess.run(
        command, env=variables, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert found(first) == ["real a.PNG", "fake b.png"]
    assert not [request for request in hub.requests if "Masks" in request or "zip" in request]
    assert found(run(hub, tmp_path, HF_HUB_OFFLINE="1")) == ["real a.PNG", "fake b.png"]
    hub.stop()
    assert found(run(hub, tmp_path)) == ["real a.PNG", "fake b.png"]


def test_tables_are_unpacked_once_and_found_offline(hub, tmp_path):
    commit = hub.add_repository(FACES, TABLES, "dataset")
    first = run(hub, tmp_path)
    assert found(first) == ["real 0.png", "fake 0.png", "fake 1.png"]
    folder = tmp_path / f"cache/deepfake-face-detector/hub-datasets/someone--faces/{commit}"
    assert str(folder / "real") in first.stdout
    written = (folder / "real/0.png").stat().st_mtime_ns
    assert run(hub, tmp_path).stdout == first.stdout
    hub.stop()
    assert run(hub, tmp_path).stdout == first.stdout
    assert run(hub, tmp_path, HF_HUB_OFFLINE="1").stdout == first.stdout
    assert (folder / "real/0.png").stat().st_mtime_ns == written
    (tmp_path / "hub/datasets--someone--faces").rename(tmp_path / "gone")  # to free space
    assert run(hub, tmp_path, f"{FACES}@{commit}").stdout == first.stdout


def test_half_a_set_is_never_taken_for_the_whole(hub, tmp_path):
    commit = hub.add_repository(FACES, TABLES | {"data/x.parquet": b"no table"}, "dataset")
    assert "A Parquet file of hf:someone/faces is damaged" in sentence(run(hub, tmp_path))
    folder = tmp_path / "cache/deepfake-face-detector/hub-datasets/someone--faces"
    assert list(folder.iterdir()) == []
    hub.add_repository(FACES, FOLDERS, "dataset", sha=commit[::-1])
    path = "/datasets/someone/faces/resolve/" + commit[::-1] + "/train/Fake/b.png"
    hub.failures[f"GET {path}"] = 500  # after the other photo has arrived
    problem = sentence(run(hub, tmp_path))
    assert "answered with an error (500)" in problem
    hub.failures.clear()
    addresses = (f"{FACES}@{commit[::-1]}", FACES)
    for where in addresses:  # one of the two photos is missing
        offline = sentence(run(hub, tmp_path, where, HF_HUB_OFFLINE="1"))
        assert "not completely in the cache, and HF_HUB_OFFLINE is set" in offline
    assert len(found(run(hub, tmp_path))) == 2


def test_revision_is_the_one_that_was_asked_for(hub, tmp_path):
    old = hub.add_repository(FACES, {"real/old.png": png(1), "fake/b.png": png(2)}, "dataset")
    repository = hub.repositories["dataset", FACES]
    repository.commit("New", FOLDERS)
    repository.tags["v1"] = old
    assert found(run(hub, tmp_path, f"{FACES}@v1")) == ["real old.png", "fake b.png"]
    assert found(run(hub, tmp_path, f"{FACES}@{old}")) == ["real old.png", "fake b.png"]
    assert found(run(hub, tmp_path)) == ["real a.PNG", "fake b.png"]
    problem = sentence(run(hub, tmp_path, f"{FACES}@v2"))
    assert "The dataset someone/faces has no revision v2" in problem


def test_newest_commit_is_taken_while_there_is_network(hub, tmp_path):
    hub.add_repository(FACES, TABLES, "dataset")
    assert len(found(run(hub, tmp_path))) == 3
    hub.repositories["dataset", FACES].commit("More", TABLES | {"data/new.parquet": table("real")})
    assert len(found(run(hub, tmp_path))) == 4


@pytest.mark.parametrize(
    ("token", "options", "told"),
    [
        (None, {"private": True}, "has no dataset someone/faces, or does not show it to you"),
        (STRANGER, {"private": True}, "has no dataset someone/faces, or does not show it to you"),
        (STRANGER, {"gated": True}, "The dataset someone/faces is gated (403)"),
        ("hf_unknown_secret", {}, "does not accept the token that is set (401)"),
        ("hf_unknöwn", {}, "contains a character that tokens cannot have"),
    ],
    ids=["nobody", "private", "gated", "unknown", "character"],
)
def test_refusals_say_what_to_do(hub, tmp_path, token, options, told):
    hub.add_repository(FACES, FOLDERS, "dataset", **options)
    problem = sentence(run(hub, tmp_path, token=token))
    assert told in problem
    assert "HF_TOKEN" in problem or "token" in problem
    assert len(found(run(hub, tmp_path, token=OWNER))) == 2
    # A complete download is used whatever the Hub says later.
    assert len(found(run(hub, tmp_path, token=STRANGER))) == 2


def test_errors_of_the_hub_and_the_network_are_told_apart(hub, tmp_path):
    hub.add_repository(FACES, FOLDERS, "dataset")
    hub.failures["GET /api/datasets/someone/faces/revision/main"] = 403
    assert "denies the dataset someone/faces to you (403)" in sentence(run(hub, tmp_path))
    hub.failures["GET /api/datasets/someone/faces/revision/main"] = 502
    assert "answered with an error (502)" in sentence(run(hub, tmp_path))
    offline = sentence(run(hub, tmp_path, HF_HUB_OFFLINE="1"))
    assert "HF_HUB_OFFLINE is set" in offline
    hub.stop()
    commit = "0" * 40
    for where in (FACES, f"{FACES}@{commit}"):
        refused = sentence(run(hub, tmp_path, where))
        assert "The connection to the Hub failed (" in refused
        assert "check the network" in refused
        assert refused.endswith(", or use a copy that you have with --source PATH.")


def test_datasets_without_usable_photos_are_told(hub, tmp_path):
    hub.add_repository(FACES, {"README.md": b"# Faces", "cats/a.png": png(1)}, "dataset")
    assert "@refs/convert/parquet" in sentence(run(hub, tmp_path))
    hub.add_repository("someone/half", {"real/a.png": png(1)}, "dataset")
    result = run(hub, tmp_path, "someone/half")  # another source may have the other label
    assert result.stdout.startswith("real "), result.stderr
    hub.add_repository("someone/cats", {"data.parquet": table("cat", "dog")}, "dataset")
    problem = sentence(run(hub, tmp_path, "someone/cats"))
    assert "hf:someone/cats has the labels `cat`, `dog` in its column `label`" in problem


@pytest.mark.parametrize(
    "where", ["", "faces", "a/b/c", "some one/faces", "someone/faces@", "-/.."]
)
def test_what_names_no_dataset_is_told(where):
    with pytest.raises(UserError, match="names no dataset: give `hf:NAMESPACE/NAME`"):
        locate(f"hf:{where}")
