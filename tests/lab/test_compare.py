import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import training.lab.compare as module
from space.detector import Detector
from training.config import CONFIG, GONE, RECIPES
from training.data.rows import read_all, read_report, read_split
from training.errors import UserError
from training.lab.compare import compare, comparison_table, leave_out_table
from training.measure.evaluate import FOLD_SCORES, FOLDS_FOLDER
from training.measure.markdown import show
from training.measure.metrics import mean_auc
from training.run import EXPORT_REPORT, METRICS, Run

SETTINGS = {"composites": 0.5, "input_size": 224, "seed": 1}


@pytest.fixture
def runs(data, tmp_path, monkeypatch) -> list:
    """Runs whose names say how good their scores are: the first is fair, the next two (seeds of one
    recipe) are good, the last is blind."""
    changes = [
        {},
        {"composites": 0.0},
        {"composites": 0.0, "seed": 2},
        {"input_size": 128},
    ]
    for name, change in zip(("fair", "good", "good-2", "blind"), changes, strict=True):
        (tmp_path / name).mkdir()
        stored = {"settings": SETTINGS | change, "data": read_report(data)}
        (tmp_path / name / CONFIG).write_text(json.dumps(stored))
    quality = {"fair": 0.5, "good": 6.0, "good-2": 5.0, "blind": -6.0}

    network_scores = module.scores

    def scores(model, photos):
        if not isinstance(model, Run):
            return network_scores(model, photos)
        rng = np.random.default_rng(3)
        truth = np.array([photo.is_fake for photo in photos])
        return quality[model.path.name] * truth + rng.normal(size=len(photos))

    monkeypatch.setattr(module, "scores", scores)
    return [tmp_path / name for name in quality]


def test_seeds_are_one_recipe_and_the_rest_is_set_against_the_first(runs, data):
    results = compare(runs, data, samples=100)
    first, good, blind = results["recipes"]
    assert first["differs"] == {}
    assert good["differs"] == {"composites": 0.0}
    assert blind["differs"] == {"input_size": 128}
    assert good["runs"] == ["good", "good-2"]
    assert first["lead"]["mean_auc"]["value"] == 0
    assert good["lead"]["mean_auc"]["low"] > 0
    assert blind["lead"]["mean_auc"]["high"] < 0
    photos = read_split(data, "validation")
    truth = [photo.is_fake for photo in photos]
    aucs = [roc_auc_score(truth, module.scores(Run.open(run), photos)) for run in runs[1:3]]
    assert good["figures"]["mean_auc"]["value"] == pytest.approx(np.mean(aucs))
    assert json.loads((runs[0] / "comparison.json").read_text()) == results
    table = comparison_table(results).splitlines()
    assert "| composites 0.0 | 2 | +0." in table[3]
    assert "| archive |" in table[0]


def test_runs_from_before_a_setting_existed_had_its_default(runs, data):
    for run, settings in zip(runs, ({}, {"dropout": 0.4}, {"dropout": 0.5}), strict=False):
        stored = json.loads((run / CONFIG).read_text())
        stored["settings"] = SETTINGS | settings
        (run / CONFIG).write_text(json.dumps(stored))
    first, second = compare(runs[:3], data, samples=10)["recipes"]
    assert first["runs"] == ["fair", "good"]
    assert second["differs"] == {"dropout": 0.5}


def test_a_setting_whose_code_is_gone_makes_a_recipe_where_it_was_on(runs, data):
    for run, settings in zip(runs, ({}, GONE, {"mixup": 0.5}), strict=False):
        stored = json.loads((run / CONFIG).read_text())
        stored["settings"] = SETTINGS | settings
        (run / CONFIG).write_text(json.dumps(stored))
    first, second = compare(runs[:3], data, samples=10)["recipes"]
    assert first["runs"] == ["fair", "good"]
    assert second["differs"] == {"mixup": 0.5}


def test_another_recipe_goes_by_its_name(runs, data):
    settings = [RECIPES["short"], RECIPES["plain"] | {"input_size": 128}]
    for run, changes in zip(runs, settings, strict=False):
        stored = json.loads((run / CONFIG).read_text())
        stored["settings"] = dict(changes)
        (run / CONFIG).write_text(json.dumps(stored))
    _, second = compare(runs[:2], data, samples=10)["recipes"]
    assert second["differs"] == {"recipe": "plain", "input_size": 128}


def differs(first: dict, other: dict) -> dict:
    return module._differences(module._settings(first), module._settings(other))


def test_what_differs_is_said_in_few_words():
    one_stage, short = RECIPES["one-stage"], RECIPES["short"]
    assert differs(one_stage, short) == {"recipe": "short"}
    assert differs(short, one_stage) == {"recipe": "one-stage"}
    assert differs(short, short | {"dropout": 0.5}) == {"dropout": 0.5}
    longer = {"epochs": 22, "input_size": 160}
    assert differs(short, short | longer) == longer


def test_a_source_that_was_left_out_is_measured_on_all_of_its_photos(runs, data):
    stored = json.loads((runs[3] / CONFIG).read_text())
    stored["settings"]["leave_out"] = "archive"
    (runs[3] / CONFIG).write_text(json.dumps(stored))
    results = compare([runs[0], runs[3]], data, samples=100)
    foreign = results["recipes"][1]["foreign"]
    photos = read_all(data)
    assert (foreign["source"], foreign["photos"]) == ("archive", len(photos))
    assert foreign["fakes"] == sum(photo.is_fake for photo in photos)
    assert foreign["figures"]["auc_archive"]["value"] < 0.1  # the run is blind
    assert "foreign" not in results["recipes"][0]
    alone = compare([runs[3]], data, samples=10)
    assert len(leave_out_table(alone).splitlines()) == 2  # there is nothing to compare it with
    head, _, *rows = leave_out_table(results).splitlines()
    assert len(rows) == 1
    assert rows[0].startswith("| archive | 0.")
    assert f"| {foreign['photos']} ({foreign['fakes']}) | 0.0" in rows[0]
    assert rows[0].count("|") == head.count("|")
    assert foreign["pairs"] == 0
    assert rows[0].endswith("| no pairs |")
    foreign["pairs"] = 3
    foreign["figures"]["paired_ranking"] = foreign["figures"]["auc_archive"]
    assert leave_out_table(results).endswith(
        f"| {show(foreign['figures']['auc_archive'])}, 3 pairs |"
    )


def one_label_each(photos):
    """Split one source into three: fakes only, real photos only, and the rest."""
    names = {(True, 0): "t2i", (False, 0): "web"}
    return [
        replace(photo, source=names.get((photo.is_fake, number // 2 % 2), "my both"))
        for number, photo in enumerate(sorted(photos, key=lambda photo: photo.path))
    ]


@pytest.fixture
def one_label_sources(monkeypatch) -> None:
    for name in ("read_split", "read_all"):
        read = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, read=read: one_label_each(read(*args)))


@pytest.mark.usefixtures("one_label_sources")
def test_fakes_without_real_photos_are_set_against_all(runs, data):
    results = compare(runs[:2], data, samples=50)
    photos = one_label_each(read_split(data, "validation"))
    scores = module.scores(Run.open(runs[0]), photos)
    truth = np.array([photo.is_fake for photo in photos])
    sources = np.array([photo.source for photo in photos])
    figures = results["recipes"][0]["figures"]
    assert figures.keys() == {"mean_auc", "paired_ranking", "auc_my both", "auc_t2i"}
    against = (sources == "t2i") | ~truth
    expected = roc_auc_score(truth[against], scores[against])
    assert figures["auc_t2i"]["value"] == pytest.approx(expected)
    mean = mean_auc(truth.astype(int), scores, sources)
    assert figures["mean_auc"]["value"] == pytest.approx(mean)
    assert comparison_table(results).count("| t2i |") == 1


@pytest.mark.usefixtures("one_label_sources")
@pytest.mark.parametrize("left_out", ["t2i", "web"])
def test_a_source_of_one_label_that_was_left_out(runs, data, left_out):
    stored = json.loads((runs[3] / CONFIG).read_text())
    stored["settings"]["leave_out"] = left_out
    (runs[3] / CONFIG).write_text(json.dumps(stored))
    results = compare([runs[0], runs[3]], data, samples=20)
    rows = leave_out_table(results).splitlines()[2:]
    if left_out == "web":  # which has no fakes to find
        assert "foreign" not in results["recipes"][1]
        assert rows == []
        return
    foreign = results["recipes"][1]["foreign"]
    fakes = [photo for photo in one_label_each(read_all(data)) if photo.source == "t2i"]
    assert (foreign["photos"], foreign["fakes"]) == (len(fakes), len(fakes))
    assert foreign["figures"]["auc_t2i"]["value"] < 0.1  # the run is blind
    assert rows[0].startswith("| t2i | 0.")


def test_settings_are_compared_by_the_scores_of_folds(runs, data):
    with pytest.raises(UserError, match=r"run `.* --folds 5` first"):
        compare(runs[:2], data, folds=True, samples=10)
    photos = read_all(data)
    truth = np.array([photo.is_fake for photo in photos])
    rng = np.random.default_rng(4)
    for run, quality in zip(runs, (2.0, -3.0, -4.0, 6.0), strict=True):  # unlike on a split
        scores = quality * truth + rng.normal(size=len(photos))
        write_fold_scores(run, data, photos, scores)
    results = compare(runs, data, folds=True, samples=100)
    assert results["split"] == "5 folds"
    _, worse, better = results["recipes"]
    assert worse["runs"] == ["good", "good-2"]
    assert worse["lead"]["mean_auc"]["high"] < 0 < better["lead"]["mean_auc"]["low"]
    assert better["figures"]["mean_auc"]["value"] == roc_auc_score(truth, scores)
    assert json.loads((runs[0] / FOLDS_FOLDER / "comparison.json").read_text()) == results
    with pytest.raises(UserError, match="leave out --split"):
        compare(runs, data, folds=True, split="test")
    write_fold_scores(runs[1], data, photos, scores, folds=2)
    with pytest.raises(UserError, match=r"of \[2, 5\] folds"):
        compare(runs, data, folds=True)


def write_fold_scores(run, data, photos, scores, folds=5) -> None:
    names = [photo.path.relative_to(data).as_posix() for photo in photos]
    stored = {"folds": folds, "scores": dict(zip(names, scores.tolist(), strict=True))}
    (run / FOLDS_FOLDER).mkdir(exist_ok=True)
    (run / FOLDS_FOLDER / FOLD_SCORES).write_text(json.dumps(stored))


def test_exported_model_is_compared_as_it_is_served(runs, data, exported, tmp_path):
    photos, detector = read_split(data, "validation"), Detector(exported)
    scores = [detector.predict(photo.path).probability for photo in photos]
    truth = [photo.is_fake for photo in photos]
    output = tmp_path / "comparison.json"
    served, run = compare([exported, runs[1]], data, output=output, samples=100)["recipes"]
    assert (served["differs"], served["runs"]) == ({"model": str(exported)}, [exported.name])
    assert served["figures"]["mean_auc"]["value"] == pytest.approx(roc_auc_score(truth, scores))
    assert run["lead"]["mean_auc"]["value"] == pytest.approx(1 - roc_auc_score(truth, scores))
    table = comparison_table({"recipes": [served, run]}).splitlines()
    assert table[2].startswith(f"| model {exported} | 1 |")
    second = compare([runs[1], exported], data, samples=10)["recipes"][1]
    assert second["differs"] == served["differs"]


def test_what_is_not_to_be_had_of_an_exported_model(runs, data, exported, tmp_path):
    model = Path(shutil.copytree(exported, tmp_path / "model"))
    output = tmp_path / "comparison.json"
    with pytest.raises(UserError, match="leave out exported models"):
        compare([runs[1], model], data, folds=True)
    with pytest.raises(UserError, match="give --output"):
        compare([model, runs[1]], data)
    for figures, report, message in (
        ({}, {"data_fingerprint": "other"}, "is not the data that"),
        ({"data_fingerprint": "other"}, {}, "is not the data that"),  # before the report said it
        ({}, {}, "does not name the data"),
    ):
        (model / METRICS).write_text(json.dumps(figures))
        (model / EXPORT_REPORT).write_text(json.dumps(report))
        with pytest.raises(UserError, match=message):
            compare([model, runs[1]], data, output=output)


def test_runs_of_other_data_are_refused(runs, data):
    stored = json.loads((runs[1] / CONFIG).read_text())
    stored["data"]["fingerprint"] = "other"
    (runs[1] / CONFIG).write_text(json.dumps(stored))
    with pytest.raises(UserError, match="is not the data that"):
        compare(runs, data)
