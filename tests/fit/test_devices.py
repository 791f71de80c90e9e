"""Two virtual devices of one CPU. Each test runs in its own process, which sets them up once."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

from tests.conftest import TINY

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
VIRTUAL = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
# Fits a line to points, of which the second half of every batch pulls the other way. A device that
# trained only on its own half, or did not share what it learned, would end somewhere else.
FIT = """
import json
from contextlib import nullcontext
import keras
import numpy as np
from training.fit.devices import on_devices

x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
x = x.reshape(2, 2, 16).swapaxes(0, 1).reshape(64, 1)
y = np.where(np.arange(64)[:, None] % 32 < 16, 3 * x, -x)
found = []
for devices in (nullcontext(1), on_devices(32)):
    with devices as number:
        layer = keras.layers.Dense(1, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((1,)), layer])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.fit(x, y, batch_size=32, epochs=3, shuffle=False, verbose=0)
    found.append([number, *(float(weights.ravel()[0]) for weights in model.get_weights())])
with on_devices(33) as number:
    print(json.dumps([*found, number]))
"""
TRAIN = """
from tests.networks import small_networks
from training.__main__ import main
with small_networks():
    assert main({}) == 0
"""


def run(code: str, **environment: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return [line for line in result.stdout.splitlines() if line.startswith("[[")]


def check_fit(lines: list[str]) -> None:
    (single, *alone), (double, *together), uneven = json.loads(lines[0])
    assert (single, double, uneven) == (1, 2, 1)
    assert together == pytest.approx(alone, abs=1e-5)
    assert alone != pytest.approx([1, 0], abs=0.05)  # it did learn


def test_two_devices_learn_what_one_does():
    check_fit(run(VIRTUAL + FIT, KERAS_BACKEND="tensorflow"))


def test_a_run_trains_on_two_devices(data, tmp_path):
    flags = [f"--set={name}={value}" for name, value in TINY.items()]
    flags += ["--epochs=1", "--epoch-photos=16", "--recipe=short"]
    flags += [f"--data={data}", f"--run={tmp_path / 'run'}"]
    run(VIRTUAL + TRAIN.format(["train", *flags]), KERAS_BACKEND="tensorflow")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["devices"] == 2
    assert "devices" not in config["settings"]  # the run resumes on any number
    assert keras.models.load_model(tmp_path / "run/deepfake_cnn.keras", compile=False)


@pytest.mark.skipif(not find_spec("jax"), reason="needs JAX, which is optional")
def test_two_devices_of_jax_learn_what_one_does():
    flags = "--xla_force_host_platform_device_count=2"
    check_fit(run(FIT, KERAS_BACKEND="jax", XLA_FLAGS=flags))
