"""Two virtual devices of one CPU, in processes of their own: they are set up once a process."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

from tests.conftest import TINY
from training.errors import UserError
from training.fit.devices import on_devices

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
VIRTUAL = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
# Fits a line to points of which the second half of every batch pulls the other way: a device that
# trained on its own half alone, or did not share what it learned, would end somewhere else.
FIT = """
import json, sys
import keras
import numpy as np
from training.fit.devices import on_devices

x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
x = x.reshape(2, 2, 16).swapaxes(0, 1).reshape(64, 1)
y = np.where(np.arange(64)[:, None] % 32 < 16, 3 * x, -x)
found = []
for number in (1, 2):
    with on_devices(number, batch_size=32):
        layer = keras.layers.Dense(1, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((1,)), layer])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.fit(x, y, batch_size=32, epochs=3, shuffle=False, verbose=0)
    found.append([float(weights.ravel()[0]) for weights in model.get_weights()])
print(json.dumps(found))
"""


def run(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.splitlines()[-1]


def check_fit(output: str) -> None:
    one, two = json.loads(output)
    assert two == pytest.approx(one, abs=1e-5)
    assert one != pytest.approx([1, 0], abs=0.05)  # it did learn


def test_two_devices_learn_what_one_does():
    check_fit(run(VIRTUAL + FIT, KERAS_BACKEND="tensorflow"))


@pytest.mark.skipif(not find_spec("jax"), reason="needs JAX, which is optional")
def test_two_devices_of_jax_learn_what_one_does():
    flags = "--xla_force_host_platform_device_count=2"
    check_fit(run(FIT, KERAS_BACKEND="jax", XLA_FLAGS=flags))


def test_a_run_trains_on_two_devices(data, tmp_path):
    settings = {**TINY, "devices": 2, "epochs": 1, "epoch_photos": 16, "trainable_layers": 5}
    flags = [f"--set={name}={value}" for name, value in settings.items()]
    flags += [f"--data={data}", f"--run={tmp_path / 'run'}", "--recipe=short"]
    train = f"from training.__main__ import main\nprint(main({['train', *flags]}))"
    assert run(VIRTUAL + train, KERAS_BACKEND="tensorflow") == "0"
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["devices"] == 2
    assert "devices" not in config["settings"]  # the run goes on on any number
    assert keras.models.load_model(tmp_path / "run/deepfake_cnn.keras", compile=False)


def test_more_devices_than_there_are_is_named():
    with pytest.raises(UserError, match="more than the 1 that"), on_devices(9, 32):
        pass


def test_an_uneven_batch_is_named():
    code = VIRTUAL + (
        "from training.fit.devices import on_devices\n"
        "try:\n    on_devices(0, 33).__enter__()\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    assert run(code, KERAS_BACKEND="tensorflow").startswith("UserError --batch-size 33 cannot be")
