from dataclasses import fields
from pathlib import Path

import pytest

from training.config import CONFIG, RECIPES, TrainConfig
from training.errors import UserError
from training.lab import experiments
from training.lab.experiments import RESULTS, read_experiments, run_experiment
from training.measure.left_out import EXPERIMENT


@pytest.mark.parametrize(("name", "experiment"), read_experiments().items())
def test_every_experiment_can_be_run_and_has_figures(name, experiment):
    # The report says so if the experiment that it cites was not run.
    assert (RESULTS / f"{name}.json").is_file() or name == EXPERIMENT
    assert experiment["recipe"] in RECIPES
    known = {field.name for field in fields(TrainConfig)} | {"recipe", "seeds"}
    for settings in experiment["runs"].values():
        assert settings.keys() <= known
        assert settings.get("recipe", "plain") in RECIPES


@pytest.fixture
def calls(monkeypatch, tmp_path) -> list:
    """Record training, folds and comparisons instead of running them."""
    recorded = []

    def train(recipe, flags, *, resume):
        recorded.append(("train", recipe, flags, resume))
        flags["run"].mkdir(parents=True, exist_ok=True)
        (flags["run"] / CONFIG).write_text("{}")

    def fold(run, data, folds, **_):
        recorded.append(("folds", run, folds))

    def compare(runs, data, *, output, folds):
        recorded.append(("compare", runs, data, output, folds))

    monkeypatch.setattr("training.fit.train.train_recipe", train)
    monkeypatch.setattr("training.measure.evaluate.evaluate_folds", fold)
    monkeypatch.setattr("training.lab.compare.compare", compare)
    monkeypatch.chdir(tmp_path)
    return recorded


def test_runs_are_trained_for_each_seed_and_compared(calls, monkeypatch):
    experiment = {
        "data": "data/mine",
        "recipe": "short",
        "seeds": [1, 2],
        "runs": {"base": {}, "other": {"recipe": "plain", "epochs": 3, "seeds": [4]}},
    }
    monkeypatch.setattr(
        experiments, "read_experiments", lambda: {"mine": experiment | {"folds": 5}}
    )
    output = run_experiment("mine", backbone_weights="none")
    common = {"data": Path("data/mine"), "backbone_weights": "none"}
    folder = Path("runs/lab/mine")
    trained = [call[1:] for call in calls if call[0] == "train"]
    assert trained == [
        ("short", common | {"run": folder / "base-1", "seed": 1}, False),
        ("short", common | {"run": folder / "base-2", "seed": 2}, False),
        ("plain", common | {"run": folder / "other-4", "seed": 4, "epochs": 3}, False),
    ]
    runs = [folder / name for name in ("base-1", "base-2", "other-4")]
    assert [call[1:] for call in calls if call[0] == "folds"] == [(run, 5) for run in runs]
    assert calls[-1] == ("compare", runs, Path("data/mine"), RESULTS / "mine.json", True)
    assert output == RESULTS / "mine.json"


def test_a_run_that_was_begun_goes_on(calls, monkeypatch):
    experiment = {"data": "d", "recipe": "short", "seeds": [1], "runs": {"base": {}}}
    monkeypatch.setattr(experiments, "read_experiments", lambda: {"mine": experiment})
    for resume in (False, True):
        run_experiment("mine", backbone_weights="none", data=Path("other"))
        trained, compared = calls[-2:]
        assert (trained[2]["data"], trained[3]) == (Path("other"), resume)
        assert compared[2] == Path("other")


def test_an_unknown_experiment_is_answered_with_those_that_are():
    with pytest.raises(UserError, match="use one of ablation, "):
        run_experiment("magic", backbone_weights="none")
