import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image, ImageFilter, PngImagePlugin

from space.detector import BUNDLED, load_bundled
from space.faces import load_face_finder
from tests.serving import SPACE
from training.__main__ import main
from training.score import inputs as score_inputs
from training.score import local as score_local
from training.score import parts as score_parts
from training.score.inputs import Photo
from training.score.parts import Parts
from training.score.rows import SCHEMA, Scorer, ScorerConfig, to_table

PROJECT = Path(__file__).parents[2]
SHA256 = json.loads((BUNDLED / "detector.json").read_text())["sha256"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a damaged file and photos of no face, one face and two faces.

    The second of the two faces is blurred.
    """
    folder = tmp_path_factory.mktemp("photos")
    portraits = [
        Image.open(SPACE / f"examples/{name}.jpg").resize((200, 200))
        for name in ("portrait", "portrait-mouth-replaced")
    ]
    (folder / "bad.jpg").write_bytes(b"no photo")
    Image.new("RGB", (64, 64), "gray").save(folder / "none.png")
    portraits[0].save(folder / "one.png")
    both = Image.new("RGB", (400, 200))
    portraits[1] = portraits[1].filter(ImageFilter.GaussianBlur(2))
    for number, portrait in enumerate(portraits):
        both.paste(portrait, (200 * number, 0))
    both.save(folder / "two.png")
    return folder


@pytest.fixture
def listed(photos, tmp_path) -> Path:
    """A list of photos in that folder, one of them twice."""
    names = ("none.png", "one.png", "bad.jpg", "one.png")
    (tmp_path / "list.txt").write_text("\n".join(str(photos / name) for name in names))
    return tmp_path / "list.txt"


def score(where: object, output: Path, *flags: object) -> list[dict]:
    command = ["score", str(where), "--output", str(output), "--workers", "1"]
    assert main([*command, *map(str, flags)]) == 0
    assert not list(output.parent.glob("*.parts")) + list(output.parent.glob(".*"))
    return pq.read_table(output).to_pylist() if output.suffix == ".parquet" else []


@pytest.fixture
def _in_this_process(monkeypatch) -> None:
    """Score in this process, for tests that are not about worker processes."""

    def score_chunks(chunks, config, workers, on_photo):
        scorer = Scorer(config)
        for chunk in chunks:
            yield chunk, [row for photo in chunk.photos for row in scorer.rows(photo)]

    monkeypatch.setattr(score_local, "score_chunks", score_chunks)


def refusal(capsys, *arguments: object) -> str:
    assert main(["score", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert lines[-1].endswith(".")
    return lines[-1]


def test_every_face_is_a_row_as_the_detector_judges_it(photos, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        rows = score(photos, tmp_path / "rows.parquet")
    assert pq.read_schema(tmp_path / "rows.parquet").equals(SCHEMA)
    places = [(Path(row["file"]).name, row["face"]) for row in rows]
    assert places == [
        ("bad.jpg", None),
        ("none.png", None),
        ("one.png", 0),
        ("two.png", 0),
        ("two.png", 1),
    ]
    bad, none, *faces = rows
    assert "not a readable photo" in bad["error"]
    blank = dict.fromkeys(SCHEMA.names) | {"model_sha256": SHA256}
    assert none == blank | {"file": str(photos / "none.png")}
    detector, finder = load_bundled(), load_face_finder()
    judgements = [
        judgement
        for name in ("one", "two")
        for judgement in detector.judge(photos / f"{name}.png", finder)
    ]
    for row, judgement in zip(faces, judgements, strict=True):
        values = judgement.as_dict()
        assert [row[name] for name in ("left", "top", "width", "height")] == values["box"]
        assert row["probability"] == pytest.approx(values["probability"], abs=1e-6)
        for name in ("verdict", "too_small", "reason"):
            assert row[name] == values[name]
        assert (row["model_sha256"], row["error"]) == (SHA256, None)
    assert [row["reason"] for row in faces].count("blurred") == 1
    line = caplog.messages[-1]
    assert line.startswith(f"{tmp_path}/rows.parquet: 4 photos, 3 faces (")
    assert "), 1 without a face, 1 with an error; " in line
    for verdict in ("fake", "inconclusive", "real"):
        assert f"{sum(row['verdict'] == verdict for row in faces)} {verdict}" in line


@pytest.mark.usefixtures("_in_this_process")
def test_list_as_csv(photos, listed, tmp_path):
    with listed.open("a") as file:
        file.write(f"\nfile://{photos}/one.png\nfile:///nowhere.png\n")
    score(listed, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == SCHEMA.names
    assert [row["file"] for row in rows] == listed.read_text().splitlines()
    assert [row["face"] for row in rows] == ["", "0", "", "0", "0", ""]
    assert rows[3] == rows[1]
    assert rows[4] == rows[1] | {"file": f"file://{photos}/one.png"}
    assert "cannot be fetched (FileNotFoundError)" in rows[5]["error"]
    assert 0 < float(rows[1]["probability"]) < 1
    assert (rows[1]["too_small"], rows[1]["error"]) == ("false", "")


@pytest.mark.usefixtures("_in_this_process")
def test_dataset_and_whole_picture(photos, tmp_path, caplog):
    contents = [(photos / name).read_bytes() for name in ("bad.jpg", "none.png", "two.png")]
    images = {"image": [{"bytes": content, "path": None} for content in contents]}
    Dataset.from_dict(images, Features(image=ImageFeature())).save_to_disk(tmp_path / "data")
    with caplog.at_level(logging.INFO):
        rows = score(tmp_path / "data", tmp_path / "rows.parquet", "--whole-picture")
    assert [row["file"] for row in rows] == ["train[0]", "train[1]", "train[2]"]
    assert [row["face"] for row in rows] == [None] * 3
    assert [row["error"] is None for row in rows] == [False, True, True]
    expected = load_bundled().judge_whole(photos / "two.png").prediction
    assert rows[2]["probability"] == pytest.approx(expected.probability, abs=1e-6)
    assert rows[2]["verdict"] == expected.verdict
    assert "3 photos, 2 whole pictures (" in caplog.messages[-1]
    assert "), 0 without a face, 1 with an error; " in caplog.messages[-1]


def shell(where: Path, output: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "training", "score", where, "--output", output]
    return subprocess.Popen(
        [*command, "--whole-picture", "--workers", "1", *flags],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell without a terminal makes its children ignore Ctrl-C, and theirs inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,  # so that a signal to its group, as by Ctrl-C, ends nothing else
    )


def wait_for_parts(folder: Path, number: int, process: subprocess.Popen) -> None:
    while len(list(folder.glob("*.parquet"))) < number:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.usefixtures("_in_this_process")  # except the runs that end early
def test_interrupted_and_killed_run_goes_on(photos, tmp_path):
    cycle = ("one.png", "two.png", *["bad.jpg"] * 9)  # damaged files take no time
    names = [str(photos / name) for name in cycle] * 9
    # Pipes in the second and the third chunk, at which a run waits for as long as it takes.
    gates = names[40], names[70] = [str(tmp_path / name) for name in ("first.png", "second.png")]
    for gate in gates:
        os.mkfifo(gate)
    (tmp_path / "list.txt").write_text("\n".join(names))
    output, parts = tmp_path / "rows.parquet", tmp_path / "rows.parquet.parts"

    process = shell(tmp_path / "list.txt", output)
    wait_for_parts(parts, 1, process)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130
    assert "Interrupted; " in errors
    assert "Traceback" not in errors

    replace_by_photo(gates[0], photos)
    (first,) = parts.glob("*.parquet")
    written = first.stat().st_mtime_ns
    process = shell(tmp_path / "list.txt", output, "--resume")
    wait_for_parts(parts, 2, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    assert children
    for _ in range(1000):
        if not any(map(is_running, children)):
            break
        let_pass(gates[1])  # wakes the child, so that it sees that it is alone
        time.sleep(0.01)
    assert not any(map(is_running, children))  # they ended by themselves
    process.communicate()

    replace_by_photo(gates[1], photos)
    assert not output.exists()
    assert len(list(parts.glob("*.parquet"))) == 2
    assert first.stat().st_mtime_ns == written
    resumed = score(tmp_path / "list.txt", output, "--whole-picture", "--resume")
    assert [row["file"] for row in resumed] == names
    scorer = Scorer(ScorerConfig.read(None, whole_picture=True))
    expected = {name: to_table(scorer.rows(Photo(name, name))).to_pylist() for name in set(names)}
    assert resumed == [row for name in names for row in expected[name]]


def let_pass(gate: str) -> None:
    """Unblock the process that waits at a pipe, if there is one."""
    with suppress(OSError):
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))


def replace_by_photo(gate: str, photos: Path) -> None:
    Path(gate).unlink()
    shutil.copy(photos / "one.png", gate)


@pytest.fixture
def interrupted(listed, monkeypatch) -> Path:
    """The output of a run that was interrupted after it had scored that list in two chunks."""
    output = listed.with_name("rows.parquet")
    monkeypatch.setattr(score_inputs, "CHUNK_PHOTOS", 2)
    monkeypatch.setattr(score_parts, "ROW_GROUP", 2)
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "merge", Mock(side_effect=KeyboardInterrupt))
        assert main(["score", str(listed), "--output", str(output)]) == 130
    return output


@pytest.mark.usefixtures("_in_this_process")
def test_resume_wants_the_same_photos_and_settings(interrupted, listed, capsys, caplog):
    resume = (listed, "--output", interrupted, "--resume")
    assert "add --resume to go on, remove it" in refusal(capsys, *resume[:-1])
    message = refusal(capsys, *resume, "--whole-picture")
    assert "rows.parquet.parts was started with face_finder = " in message
    message = refusal(capsys, f"{listed.parent}/*.txt", *resume[1:])
    assert f"was started with input = {listed}, not {listed.parent}/*.txt: " in message
    lines = listed.read_text().splitlines()
    for changed in ([*lines[1:], lines[0]], lines[:2], [*lines[:3], lines[0]]):
        listed.write_text("\n".join(changed))
        assert "The input holds other photos than when" in refusal(capsys, *resume)
    listed.write_text("\n".join(lines))
    with caplog.at_level(logging.INFO):
        rows = score(listed, interrupted, "--resume")
        assert [row["file"] for row in rows] == lines
        assert "4 photos, 2 faces (" in caplog.messages[-1]
        assert score(listed, interrupted, "--resume") == rows
    assert pq.read_metadata(interrupted).num_row_groups == 2
    assert caplog.messages[-1] == f"{interrupted} is finished already."


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["list.txt", "--output", "rows.json"], "rows.json ends in neither .parquet nor .csv"),
        (["list.txt", "--output", "there.csv"], "there.csv exists already: remove it"),
        (["list.txt", "--output", "rows.csv", "--resume"], "holds nothing to resume"),
        (["list.txt", "--output", "mine.csv"], "mine.csv.parts was written by something else"),
        (["list.txt", "--output", "rows.csv", "--workers", "0"], "--workers 0"),
        (["list.txt", "--output", "rows.csv", "--address", "x:1"], "belongs to --engine ray"),
        (["list.txt", "--output", "rows.csv", "--model", "."], "detector.json cannot be read"),
        (["nothing.txt", "--output", "rows.csv"], "nothing.txt is not a file"),
        (["*.jpg", "--output", "rows.csv"], "*.jpg holds no photos"),
        (["x", "--output", "x.parquet", "--engine", "ray", "--resume"], "--resume is not for"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    listed, tmp_path, monkeypatch, capsys, arguments, found
):
    monkeypatch.chdir(tmp_path)
    Path("there.csv").touch()
    Path("mine.csv.parts").mkdir()
    Path("mine.csv.parts/thesis.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    assert found in refusal(capsys, *arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_ray_is_asked_for_where_it_is_missing(listed, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "training.score.ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    message = refusal(capsys, listed, "--output", "rows.parquet", "--engine", "ray")
    assert '`pip install "ray[data]"`' in message


@pytest.mark.usefixtures("_in_this_process")
def test_what_files_say_of_themselves_is_in_columns_on_request(photos, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "Midjourney")
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    Image.open(folder / "one.png").save(folder / "one.png", pnginfo=info)
    rows = score(folder, tmp_path / "rows.parquet", "--provenance")
    assert list(rows[0]) == [*SCHEMA.names, "provenance", "provenance_trust"]
    claims = {Path(row["file"]).name: (row["provenance"], row["provenance_trust"]) for row in rows}
    assert claims["one.png"] == ("made by AI", "written by anybody")
    assert claims["two.png"] == claims["bad.jpg"] == (None, None)
