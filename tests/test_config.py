import pytest

from training.config import DEFAULT_RECIPE, RECIPES, PrepareConfig, TrainConfig
from training.errors import UserError


@pytest.mark.parametrize(
    ("setting", "spelled"),
    [
        ({"epochs": 0}, "--epochs 0 is out of range: give a value of at least 1"),
        ({"dropout": 1.5}, "--set dropout=1.5 is out of range: give a value from 0 to 0.99"),
        ({"learning_rate": float("nan")}, "--learning-rate nan is out of range"),
        ({"trainable_layers": -3}, "--set trainable_layers=-3 is out of range"),
    ],
)
def test_settings_out_of_range_are_named_as_they_are_given(setting, spelled):
    with pytest.raises(UserError, match=f"^{spelled}"):
        TrainConfig(**setting)


def test_preparing_is_checked_as_well():
    with pytest.raises(UserError, match="--size 70000 is out of range"):
        PrepareConfig(size=70_000)
    with pytest.raises(UserError, match="--group-by magic is neither"):
        PrepareConfig(group_by="magic")


@pytest.mark.parametrize(
    ("name", "value", "spelled"),
    [("weight_average", 0.5, "--set weight_average=0.5"), ("epoch_photos", 8, "--epoch-photos 8")],
)
def test_what_works_on_pairs_only_is_named(name, value, spelled):
    with pytest.raises(UserError, match=f"^{spelled} needs a --recipe of pairs, or --set"):
        TrainConfig(**{name: value})
    assert getattr(TrainConfig(**{name: value}, sampling="pairs"), name) == value


def test_masks_need_the_head_that_has_a_map():
    with pytest.raises(UserError, match=r"--set mask_weight=0\.5 needs --set head=evidence"):
        TrainConfig(sampling="pairs", mask_weight=0.5)


def test_parts_need_a_size_that_has_quarters():
    with pytest.raises(UserError, match=r"--set parts=0\.5 needs an --input-size .* of 32"):
        TrainConfig(sampling="pairs", parts=0.5, input_size=240)
    assert TrainConfig(sampling="pairs", parts=0.5, input_size=224).parts == 0.5


def test_every_recipe_can_be_trained():
    assert DEFAULT_RECIPE in RECIPES
    for settings in RECIPES.values():
        assert vars(TrainConfig(**settings)).items() >= settings.items()
