import logging
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from tests.drawing import write_source
from training.__main__ import main
from training.config import SPLITS, PrepareConfig
from training.data.rows import read_report

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def calls(monkeypatch) -> list:
    """Replace the verbs' functions with recorders; return what they record."""
    recorded = []

    def record(name: str, result=None):
        def recorder(*args, **kwargs):
            recorded.append((name, args, kwargs))
            return result

        return recorder

    for where in (
        "training.data.prepare.prepare",
        "training.fit.train.train_recipe",
        "training.ship.export.export",
    ):
        monkeypatch.setattr(where, record(where.rpartition(".")[2]))
    auc, accuracy = ({"value": v, "low": v - 0.1, "high": v + 0.1} for v in (0.7, 0.6))
    figures = {"split": "test", "roc_auc": auc, "accuracy": accuracy, "majority_baseline": 0.53}
    monkeypatch.setattr("training.measure.evaluate.evaluate", record("evaluate", figures))
    return recorded


def test_every_setting_of_prepare_is_a_documented_flag(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["prepare", "--help"])
    shown = capsys.readouterr().out
    for field in fields(PrepareConfig):
        assert f"--{field.name.replace('_', '-')}" in shown
        assert str(field.default) in " ".join(shown.split())


def test_train_has_few_flags_and_shows_examples(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert len(set(re.findall(r"^  --[\w-]+", shown, re.MULTILINE))) <= 14
    assert shown.count("python -m training train --") == 2
    unwrapped = " ".join(shown.split()).replace("- ", "-")
    assert "(default: 224; one-stage: 160; short: 128)" in unwrapped


def test_other_settings_are_set_by_name(calls, capsys):
    settings = ["flip=false", "trainable-layers=238", "dropout=0.5", "leave_out=dfdc"]
    assert main(["train", *(f"--set={setting}" for setting in settings)]) == 0
    ((_, (_, flags), _),) = calls
    expected = {"flip": False, "trainable_layers": 238, "dropout": 0.5, "leave_out": "dfdc"}
    assert flags == expected
    for wrong, problem in (
        ("droput=0.5", "there is no setting droput: did you mean dropout?"),
        ("magic", "there is no setting magic: see training/config.py."),
        ("dropout=much", "dropout takes a value of type float."),
        ("flip=no", "flip takes true or false."),
        ("leave_out", "there is no value: give leave_out=VALUE."),
        ("seed=3", "give --seed instead, which other steps read as well."),
    ):
        assert main(["train", "--set", wrong]) == 2
        assert f"--set {wrong}: {problem}" in capsys.readouterr().err


def test_run_does_all_in_turn_and_passes_the_flags_on(calls, capsys, caplog):
    flags = ["--source", "photos", "--size", "64", "--seed", "3", "--data", "d", "--run", "r"]
    with caplog.at_level(logging.INFO):
        assert main(["run", *flags, "--epochs", "1", "--set", "flip=false"]) == 0
    assert [name for name, _, _ in calls] == ["prepare", "train_recipe", "evaluate", "export"]
    prepared, trained, evaluated, exported = (args for _, args, _ in calls)
    assert prepared == (PrepareConfig(source=("photos",), output=Path("d"), size=64, seed=3),)
    given = {"data": Path("d"), "run": Path("r"), "epochs": 1, "flip": False, "seed": 3}
    assert trained == ("one-stage", given)
    assert evaluated == ("r", Path("d"), "test", None)
    assert exported == (Path("r"), Path("d"), Path("r/export"))
    assert "test AUC 0.700 (95 % interval 0.600 to 0.800)" in caplog.text
    assert "0.530" in caplog.text


def test_a_report_is_of_all_that_was_asked_for(calls):
    given = ["--foreign", "swaps=f", "--bona-fide", "a=b", "--bona-fide", "c=d"]
    assert main(["evaluate", "model", "--report", *given, "--data", "d"]) == 0
    ((name, where, options),) = calls
    assert (name, where) == ("evaluate", ("model", Path("d"), "test", None))
    assert options == {"full": True, "foreign": ["swaps=f"], "bona_fide": ["a=b", "c=d"]}


def test_folds_and_a_report_exclude_each_other(calls, capsys):
    assert main(["evaluate", "run", "--folds", "3", "--report", "--data", "d"]) == 2
    assert "leave out --split, --report, --foreign and --bona-fide" in capsys.readouterr().err
    assert calls == []


def test_train_knows_which_flags_were_given(calls):
    assert main(["train", "--recipe", "plain", "--epochs", "4", "--resume"]) == 0
    assert calls == [("train_recipe", ("plain", {"epochs": 4}), {"resume": True})]


@pytest.mark.parametrize(
    ("typed", "advice"),
    [("trian", "did you mean train?"), ("evalute", "did you mean evaluate?"), ("x", "use one of ")],
)
def test_a_verb_that_is_none_is_answered_with_those_that_are(typed, advice, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([typed, "runs/mine"])
    assert f"there is no verb {typed}: {advice}" in capsys.readouterr().err


@pytest.mark.slow
def test_prepare_is_run_from_the_shell(tmp_path):
    source = write_source(tmp_path / "source", per_label=3, size=48)
    places = [path.relative_to(source) for path in sorted(source.rglob("*.jpg"))]
    rows = [f"source,{place},{split}" for place, split in zip(places, SPLITS * 2, strict=True)]
    splits = tmp_path / "splits.csv"
    splits.write_text("\n".join(["source,file,split", *rows]))
    output = tmp_path / "faces"
    flags = ["--source", source, "--splits", splits, "--size", "32", "--output", output]
    command = [sys.executable, "-m", "training", "prepare", *flags]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stderr.strip().splitlines()[-1].startswith(f"{output}: train ")
    report = read_report(output)
    assert report["size"] == 32
    assert report["counts"] == {split: {"real": 1, "fake": 1} for split in SPLITS}


@pytest.mark.slow
def test_a_push_starts_without_what_only_training_and_measuring_need():
    heavy = "{'datasets', 'keras', 'matplotlib', 'scipy', 'sklearn', 'tensorflow'}"
    code = f"import sys, training.ship.push; print({heavy} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


def test_mistakes_are_one_sentence_and_exit_code_2(tmp_path, capsys):
    assert main(["prepare", "--source", str(tmp_path / "missing")]) == 2
    assert main(["train", "--data", str(tmp_path)]) == 2
    assert main(["evaluate", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert main(["export", str(tmp_path), "--data", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 4
    assert all(line.startswith("error: ") and line.endswith(".") for line in errors)
