import json
import shutil
import sys

import pytest

from space.detector import BUNDLED
from tests.drawing import draw_face
from training.config import CONFIG
from training.lab import by_whom
from training.measure.demographics import read_by_whom
from training.measure.tier_tables import whom_table
from training.run import Run


@pytest.fixture
def exported_run(run, tmp_path):
    """A run that left two sources out, exported."""
    folder = shutil.copytree(run, tmp_path / "run")
    shutil.copytree(BUNDLED, folder / "export")
    stored = json.loads((folder / CONFIG).read_text())
    stored["settings"] |= {"leave_out": "utk,latent", "epoch_photos": 24}
    (folder / CONFIG).write_text(json.dumps(stored))
    return folder


def call(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["by_whom", *map(str, arguments)])
    return by_whom.main()


def test_real_photos_are_compared_by_whom_they_show(
    exported_run, data, tmp_path, monkeypatch, capsys
):
    folder, output = tmp_path / "mine", tmp_path / "found.json"
    folder.mkdir()
    for index in range(40):
        draw_face(index, 64).save(folder / f"{20 + 30 * (index % 2)}_1_0_2017{index}.png")
    flags = ["--bona-fide", f"utk={folder}", "--data", data, "--output", output]
    assert call(monkeypatch, exported_run, *flags) == 0
    figures = read_by_whom(Run.open(exported_run).fingerprint, output)
    values = figures["by_whom"]["apparent age"]["values"]
    assert {name: counts["called_fake"]["photos"] for name, counts in values.items()} == {
        "18 to 39": 20,
        "40 to 59": 20,
    }
    epochs = len((exported_run / "history.csv").read_text().splitlines()) - 1
    network = {"photos": 24 * epochs, "input_size": 64, "left_out": ["utk", "latent"]}
    assert figures["by_whom_network"] == network
    assert whom_table(figures) in capsys.readouterr().out


def test_a_run_without_export_is_one_sentence(run, data, tmp_path, monkeypatch, capsys):
    flags = ["--bona-fide", f"utk={tmp_path}", "--data", data, "--output", tmp_path / "found.json"]
    assert call(monkeypatch, run, *flags) == 2
    assert "run `export" in capsys.readouterr().err
    assert not (tmp_path / "found.json").exists()
