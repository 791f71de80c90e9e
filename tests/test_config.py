import pytest

from training.config import PrepareConfig, TrainConfig
from training.errors import UserError


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"dropout": 1.5},
        {"learning_rate": float("nan")},
        {"trainable_layers": -3},
        {"input_size": 10},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_named(setting):
    [name] = setting
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} .* is out of range: give"):
        TrainConfig(**setting)


def test_preparing_is_checked_as_well():
    with pytest.raises(UserError, match="--size 70000 is out of range"):
        PrepareConfig(size=70_000)
    with pytest.raises(UserError, match="--group-by magic is neither"):
        PrepareConfig(group_by="magic")


def test_several_devices_need_batches_of_one_size():
    with pytest.raises(UserError, match="--devices needs --sampling pairs"):
        TrainConfig(devices=2)
    assert TrainConfig(devices=2, sampling="pairs").devices == 2
