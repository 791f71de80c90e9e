import json
from pathlib import Path

import pytest

from space.contract import CONFIG_FILE
from training.config import CONFIG, FINAL, TrainConfig
from training.data.rows import REPORT
from training.errors import UserError
from training.run import EXPORT_REPORT, Run, locate_data, remember_data, trained_on


def write_data(folder: Path, fingerprint: str) -> Path:
    folder.mkdir(parents=True)
    (folder / REPORT).write_text(json.dumps({"fingerprint": fingerprint}))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run on data with the fingerprint `mine`."""
    folder = tmp_path / "run"
    folder.mkdir()
    stored = {"settings": {"crop_margin": 1.2}, "data": {"fingerprint": "mine"}}
    (folder / CONFIG).write_text(json.dumps(stored))
    return folder


def test_framing_follows_from_the_settings(run: Path):
    assert (Run.open(run).margin, Run.open(run).framing) == (1.2, "face")
    (run / CONFIG).write_text(json.dumps({"settings": {}, "data": {"fingerprint": "mine"}}))
    older = Run.open(run)  # from before there was such a setting
    assert (older.margin, older.framing) == (0.0, "photo")
    assert older.settings["batch_size"] == TrainConfig.batch_size


def test_what_is_no_finished_run_is_one_sentence(run: Path, tmp_path: Path):
    with pytest.raises(UserError, match="give the folder of a training run"):
        Run.open(tmp_path)
    (tmp_path / CONFIG).write_text('{"model_type": "bert"}')  # another program's file
    with pytest.raises(UserError, match="was not written by `train`"):
        Run.open(tmp_path)
    with pytest.raises(UserError, match="finish its training first"):
        Run.open(run).network()
    (run / FINAL).write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be loaded"):
        Run.open(run).network()


def test_data_is_known_by_its_fingerprint(run: Path, tmp_path: Path):
    trained = Run.open(run)
    trained.check_data(write_data(tmp_path / "copy", "mine"))
    with pytest.raises(UserError, match=r"other is not the data that .*run was trained on: give"):
        trained.check_data(write_data(tmp_path / "other", "another"))


def test_data_is_found_where_it_lay_or_beside_the_usual_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data/faces"), "another")
    with pytest.raises(UserError, match="give its folder with --data"):
        locate_data(run, None)
    assert locate_data(run, Path("asked/for")) == Path("asked/for")
    beside = write_data(Path("data/sources"), "mine")
    assert locate_data(run, None) == beside
    elsewhere = write_data(tmp_path / "disk/faces", "mine")
    remember_data(run, elsewhere)
    assert locate_data(run, None) == elsewhere
    export = run / "export"
    export.mkdir()
    (export / EXPORT_REPORT).write_text(json.dumps({"data_fingerprint": "mine"}))
    assert trained_on(export) == "mine"
    (export / CONFIG_FILE).write_text("{}")
    (export / CONFIG).write_text('{"module": "keras"}')  # as in a downloaded model
    assert trained_on(export) == "mine"
    assert locate_data(export, None) == elsewhere
    (elsewhere / REPORT).write_text(json.dumps({"fingerprint": "prepared anew"}))
    assert locate_data(run, None) == beside
    assert locate_data("someone/detector", None) == Path("data/faces")  # its data is unknown
