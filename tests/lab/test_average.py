import json
import shutil
import sys

import keras
import numpy as np
import pytest

from training.config import CONFIG, FINAL, LAST
from training.lab import average
from training.run import Run


@pytest.fixture
def other(run, tmp_path):
    """The same run with other weights."""
    folder = shutil.copytree(run, tmp_path / "other")
    network = keras.models.load_model(folder / FINAL)
    network.set_weights([3 * weight + 1 for weight in network.get_weights()])
    network.save(folder / FINAL)
    return folder


def call(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["average", *map(str, arguments)])
    return average.main()


def test_weights_are_averaged_by_their_share(run, other, tmp_path, monkeypatch):
    output = tmp_path / "mean"
    assert call(monkeypatch, run, other, "--output", output, "--share", 0.25) == 0
    result = Run.open(output)
    assert (result.settings, result.fingerprint) == (
        Run.open(run).settings,
        Run.open(run).fingerprint,
    )
    plain = Run.open(run).network().get_weights()
    for weight, mean in zip(plain, result.network().get_weights(), strict=True):
        if np.issubdtype(weight.dtype, np.floating):  # not the state of a random generator
            np.testing.assert_allclose(mean, 1.5 * weight + 0.25, rtol=1e-5, atol=1e-6)
    averaged = json.loads((output / CONFIG).read_text())["averaged"]
    assert [entry["share"] for entry in averaged] == [0.75, 0.25]


def test_last_network_can_be_taken(run, other, tmp_path, monkeypatch):
    shutil.copy(other / FINAL, other / LAST)
    shutil.copy(run / FINAL, other / FINAL)
    output = tmp_path / "mean"
    assert call(monkeypatch, run, other, "--output", output, "--share", 1, "--last") == 0
    last = keras.models.load_model(other / LAST).get_weights()
    for weight, mean in zip(last, Run.open(output).network().get_weights(), strict=True):
        np.testing.assert_array_equal(mean, weight)
    (other / LAST).unlink()
    assert call(monkeypatch, run, other, "--output", output, "--last") == 2


def test_what_does_not_belong_together_is_refused(run, other, tmp_path, monkeypatch, capsys):
    output = tmp_path / "mean"
    assert call(monkeypatch, run, other, "--output", output, "--share", 1.5) == 2
    assert "--share 1.5 is out of range" in capsys.readouterr().err
    stored = json.loads((other / CONFIG).read_text())
    stored["data"]["fingerprint"] = "another"
    (other / CONFIG).write_text(json.dumps(stored))
    assert call(monkeypatch, run, other, "--output", output) == 2
    assert "were trained on different data" in capsys.readouterr().err
    shutil.copy(run / CONFIG, other / CONFIG)
    small = keras.Sequential(
        [keras.Input((64, 64, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    small.save(other / FINAL)
    assert call(monkeypatch, run, other, "--output", output) == 2
    assert "networks with different layers" in capsys.readouterr().err
    assert not output.exists()
