import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from space.contract import DetectorConfig
from training.errors import UserError
from training.measure.markdown import show
from training.measure.score_tables import TITLES, kinds_table, sources_table
from training.measure.stress import stress
from training.measure.tier_tables import accusations_table, tiers_table
from training.ship.card import render_card, render_eval_results

ID = "someone/detector"


@pytest.fixture
def export(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported run that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "export"))


def test_metadata_holds_what_the_hub_asks_for(spread, exported):
    data = render_card(spread, exported, ID, dataset_id="someone/faces").data
    assert (data.license, data.library_name) == ("gpl-3.0", "keras")
    assert data.pipeline_tag == "image-classification"
    assert data.datasets == ["someone/faces"]
    assert "deepfake-detection" in data.tags


def test_every_metric_is_in_the_index(spread, exported):
    card = render_card(spread, exported, ID)
    figures = json.loads((exported / "metrics.json").read_text())
    index = {result.metric_type: result for result in card.data.eval_results}
    defined = [name for name in TITLES if figures[name]["value"] is not None]
    assert len(defined) >= 9
    for name in defined:
        assert index[name].metric_value == round(figures[name]["value"], 4)
        assert index[name].metric_name == TITLES[name]
        assert index[name].dataset_split == "test"
    for name, share in figures["verdicts"].items():
        if share["value"] is not None:
            assert index[f"verdict_{name}"].metric_value == round(share["value"], 4)


def test_what_a_run_went_on_from_and_what_was_averaged_is_told(spread, exported, tmp_path):
    run = Path(shutil.copytree(spread, tmp_path / "run"))
    stored = json.loads((run / "config.json").read_text())
    assert "are the mean of" not in render_card(run, exported, ID).text
    stored["settings"]["backbone_weights"] = {"file": "before.keras", "sha256": "0" * 64}
    stored["averaged"] = [{"run": name, "sha256": "0", "share": 0.5} for name in ("one", "other")]
    (run / "config.json").write_text(json.dumps(stored))
    text = render_card(run, exported, ID).text
    assert "It started from the network of an earlier run, whose photos and epochs are not " in text
    assert "Its weights are the mean of those of 2 such runs" in text


def test_text_follows_from_the_run(spread, exported):
    text = render_card(spread, exported, ID).text
    figures = json.loads((exported / "metrics.json").read_text())
    config = DetectorConfig.load(exported)
    assert f"trained on {config.trained_on}." in text
    assert f"| ROC AUC | {show(figures['roc_auc'])} |" in text
    assert f"from {config.thresholds['fake']:.3f} upwards is called fake" in text
    assert "of new photos like those at most 2 % of the real ones" in text
    assert "at most 5 % of the fakes real" in text
    assert "64x64 px" in text
    assert ", on the photos as they were prepared. " in text
    assert "for 2 epochs of at most 2" in text
    assert "random weights" in text
    assert "not evidence about a person" in text
    assert "terms are not recorded" in text  # of the drawn faces, an unknown source
    assert "composites" not in text
    assert "ImageNet" not in text
    assert not re.search(r"\{\{|\{%|None|Undefined", text.replace("[None]", ""))


def test_card_is_the_same_every_time_and_reads_back(spread, exported):
    first, second = (str(render_card(spread, exported, ID, tag="v1")) for _ in range(2))
    assert first == second
    assert ModelCard(first).data.to_dict() == ModelCard(second).data.to_dict()


def test_examples_name_the_tag(spread, exported):
    tagged = render_card(spread, exported, ID, tag="v1").text
    assert tagged.count('revision="v1"') == 4
    assert tagged.count("--revision v1") == 2
    assert "revision=" not in render_card(spread, exported, ID).text.replace("`revision`", "")


def test_robustness_and_heatmap_are_told_where_they_were_measured(spread, export, data):
    text = render_card(spread, export, ID).text
    assert text.count("not\nmeasured for this model") == text.count("Not measured for this") == 1
    stress(export, data, "test", samples=20)
    pointing = {"value": 0.4, "low": 0.3, "high": 0.5}
    maps = {"grad_cam": {"pointing": pointing}, "centre": {"pointing": pointing | {"value": 0.8}}}
    explanation = {"model": DetectorConfig.load(export).sha256, "localisation": {"pair": maps}}
    explanation["faces"] = False
    (export / "explanation.json").write_text(json.dumps(explanation))
    text = render_card(spread, export, ID).text
    assert "| JPEG quality 50 |" in text
    assert "in 0.400 (0.300 to 0.500) of the cases" in text
    assert "does in 0.800" in text
    assert "easured for this model" not in text
    (export / "explanation.json").write_text(json.dumps(explanation | {"model": "another"}))
    with pytest.raises(UserError, match=r"explanation\.json is of another model"):
        render_card(spread, export, ID)


def test_known_source_and_random_split_are_told(spread, export):
    description = json.loads((export / "detector.json").read_text())
    description["sources"] = ["real_and_fake_face"]
    description["metrics"]["test"]["note"] = "The split is random."
    (export / "detector.json").write_text(json.dumps(description))
    card = render_card(spread, export, ID)
    assert card.data.datasets is None
    assert card.data.eval_results[0].dataset_name == "real and fake face detection"
    assert "https://www.kaggle.com/datasets/ciplab/real-and-fake-face-detection" in card.text
    assert "@misc{real_and_fake_face_detection," in card.text
    assert "The split is random." in card.text
    assert "stay on one side" not in card.text


def test_several_sources_have_a_table_of_their_own(spread, export):
    text = render_card(spread, export, ID).text
    assert "| source |" not in text
    figures = json.loads((export / "metrics.json").read_text())
    (source_figures,) = figures["by_source"].values()
    figures["by_source"] = {"dfdc": source_figures, "mine": source_figures}
    (export / "metrics.json").write_text(json.dumps(figures))
    text = render_card(spread, export, ID).text
    assert f"\n\n{sources_table(figures)}\n\n" in text
    assert f"\n\n{kinds_table(figures)}\n\n" in text
    for kind in ("by_difficulty", "by_part"):
        figures[kind] = {}
    (export / "metrics.json").write_text(json.dumps(figures))
    assert "### By kind of fake\n\nOf each source" in render_card(spread, export, ID).text


def test_missing_figures_are_named(spread, export):
    (export / "export_report.json").unlink()
    with pytest.raises(UserError, match=r"export_report\.json is missing: export the run"):
        render_card(spread, export, ID)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("metrics.json", {"split": "train"}, "figures of the split train"),
        ("metrics.json", {"majority_baseline": None, "roc_auc": 1}, "damaged or of another"),
        ("stress.json", {"sha256": "other"}, "of another model, split or data"),
        ("stress.json", {"split": "train"}, "of another model, split or data"),
        (
            "stress.json",
            {"faces": True},
            "measured on each face, where the model judges each photo",
        ),
        ("metrics.json", {"faces": True}, "where the model judges each photo: measure it anew"),
        ("export_report.json", None, "damaged or of another version"),
    ],
)
def test_figures_of_something_else_are_refused(spread, export, data, file, change, message):
    if file == "stress.json":
        stress(export, data, "test", samples=20)
    path = export / file
    text = "{" if change is None else json.dumps(json.loads(path.read_text()) | change)
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        render_card(spread, export, ID)


def test_false_accusations_come_before_all_other_figures(spread, export):
    figures = json.loads((export / "metrics.json").read_text())
    text = render_card(spread, export, ID).text
    assert f"\n\n{accusations_table(figures)}\n\n" in text
    assert f"\n\n{tiers_table(figures)}\n\n" in text
    assert text.index("### Real photos called fake") < text.index("| ROC AUC |")
    assert "2 weak support; 10 moderate support; " in text
    assert "assumes that 50 % of the photos are fake" in text
    assert "### Stability" not in text  # `export` does not measure it
    figures["promises_broken"] = [broken := "In “mine”, 9 of 30 real photos are called fake."]
    (export / "metrics.json").write_text(json.dumps(figures))
    assert f"keep.** {broken}" in render_card(spread, export, ID).text
    for name in ("tiers", "promises_broken", "by_whom"):
        del figures[name]
    (export / "metrics.json").write_text(json.dumps(figures))
    assert "### Real photos called fake" not in render_card(spread, export, ID).text


def test_results_are_written_as_the_hub_files_them(tmp_path):
    value = {"value": 0.91234, "low": 0.9, "high": 0.95}
    figures = {name: value for name in TITLES} | {"split": "test"}
    figures["paired_ranking"] = {"value": None, "low": None, "high": None}
    accused = {"hits": 1, "photos": 50, "groups": 50, "value": 0.02, "low": 0.0005, "high": 0.1}
    figures["tiers"] = {"ordinary_photos": {"real_called_fake": accused}}
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    entries = parse_eval_result_entries(yaml.safe_load(render_eval_results(tmp_path, "me/faces")))
    values = {entry.task_id: entry.value for entry in entries}
    assert values["roc_auc"] == 0.9123
    assert "paired_ranking" not in values
    assert values["real_called_fake_ordinary_photos"] == 0.02
    assert {entry.dataset_id for entry in entries} == {"me/faces"}
    assert "1 of 50 (2.0 %; 0.1 to 10.0 %)" in entries[-1].notes
