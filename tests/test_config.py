import pytest

from training.config import DEFAULT_RECIPE, RECIPES, PrepareConfig, TrainConfig
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


@pytest.mark.parametrize(
    ("name", "value"),
    [("devices", 2), ("erasing", 0.5), ("composites", 0.5), ("epoch_photos", 8)],
)
def test_what_works_on_pairs_only_is_named(name, value):
    flag = name.replace("_", "-")
    with pytest.raises(UserError, match=f"--{flag} needs --sampling pairs"):
        TrainConfig(**{name: value})
    assert getattr(TrainConfig(**{name: value}, sampling="pairs"), name) == value


def test_masks_need_the_head_that_has_a_map():
    with pytest.raises(UserError, match="--mask-weight needs --head evidence"):
        TrainConfig(sampling="pairs", mask_weight=0.5)


def test_every_recipe_can_be_trained():
    assert DEFAULT_RECIPE in RECIPES
    for settings in RECIPES.values():
        assert vars(TrainConfig(**settings)).items() >= settings.items()
