import json
from dataclasses import replace

import pytest
from PIL import Image

import training.measure.answers
import training.measure.evaluate
import training.measure.served
from space.contract import DetectorConfig
from tests.drawing import draw_face
from tests.measure.test_answers import CONFIG, Double
from training.errors import UserError
from training.measure.evaluate import evaluate, exported

FOOTPRINT = {
    "model_megabytes": 4.5,
    "network_milliseconds": 9.0,
    "photo_milliseconds": 20.0,
    "memory_megabytes": 150.0,
    "machine": {"architecture": "x", "cores": 2},
}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model folder whose detector scores brightness, without a network."""
    double = Double()
    double.config = replace(CONFIG, sources=["archive"], metrics={"test": {"note": "As split."}})
    monkeypatch.setattr(training.measure.answers, "load_finder", lambda folder: "a finder")
    monkeypatch.setattr(training.measure.evaluate, "open_model", lambda model: double)
    monkeypatch.setattr(training.measure.served, "measure_footprint", lambda model: FOOTPRINT)
    folder = tmp_path / "model"
    folder.mkdir()
    double.config.save(folder)
    return folder


def ordinary(folder, number: int):
    folder.mkdir()
    for index in range(number):
        draw_face(index, 64).save(folder / f"{20 + 30 * (index % 2)}_{index % 2}_0_2017{index}.png")
    return folder


def test_one_command_measures_all(model, data, tmp_path):
    mine = ordinary(tmp_path / "mine", 40)
    (mine / "broken.jpg").write_bytes(b"no photo")
    options = {"bona_fide": [f"mine={mine}"]}
    figures = evaluate(model, data, "test", full=True, samples=10, **options)
    assert json.loads((model / "metrics.json").read_text()) == figures
    assert set(figures["tiers"]) == {"trained_kinds", "ordinary_photos"}
    trained, everyday = figures["tiers"].values()
    assert trained["abstained"]["photos"] == figures["photos"]
    shares = figures["verdicts"]
    assert trained["real_called_fake"]["value"] == shares["real_called_fake"]["value"]
    assert everyday["by_source"]["mine"]["reasons"]["unreadable"] == 1
    assert not everyday["by_source"]["mine"]["trained_on"]
    assert trained["by_source"]["archive"]["trained_on"]
    assert list(trained["changed"]) == list(training.measure.answers.CHANGES)
    assert list(figures["stability"]) == list(training.measure.answers.HARMLESS)
    assert set(figures["by_whom"]) == {"apparent age", "apparent sex"}  # one ethnicity alone
    report = (model / "report.md").read_text()
    titles = ["Real photos called fake", "Fakes found", "How foreign the photos are"]
    titles += ["Strength of evidence", "Stability", "By whom", "Footprint"]
    places = [report.index(f"## {title}\n\n|") for title in titles]
    assert places == sorted(places)
    described = DetectorConfig.load(model).metrics["test"]
    assert described["note"] == "As split."
    assert described["tiers"]["ordinary_photos"]["real_called_fake"] == everyday["real_called_fake"]
    assert "by_source" not in described["tiers"]["ordinary_photos"]


def test_without_report_photos_are_judged_once_and_the_description_stays(model, data):
    before = (model / "detector.json").read_text()
    figures = evaluate(model, data, "test", samples=10)
    assert figures["tiers"]["trained_kinds"]["changed"] == {}
    assert "stability" not in figures
    assert "## Footprint" not in (model / "report.md").read_text()
    assert (model / "detector.json").read_text() == before


def test_folders_without_faces_or_readable_photos_are_a_sentence(model, data, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match="mine: none of 1 photos can be read"):
        evaluate(model, data, bona_fide=[f"mine={mine}"], samples=10)
    Image.new("RGB", (64, 64), "#0000ff").save(mine / "b.png")
    with pytest.raises(UserError, match="mine: no face was found in any of 2 photos"):
        evaluate(model, data, bona_fide=[f"mine={mine}"], samples=10)


def test_broken_promises_are_loud(model, data, tmp_path, caplog):
    mine = tmp_path / "mine"
    mine.mkdir()
    for index in range(30):
        draw_face(index, 64).point(lambda value: 240 - value // 9).save(mine / f"{index}.png")
    figures = evaluate(model, data, bona_fide=[f"mine={mine}"], samples=10)
    accusation = "“mine” (ordinary photos), 30 of 30"
    (sentence,) = [promise for promise in figures["promises_broken"] if accusation in promise]
    training.measure.evaluate.log_metrics(figures, model)
    assert sentence in [
        record.message for record in caplog.records if record.levelname == "WARNING"
    ]
    report = (model / "report.md").read_text()
    assert "**Not calibrated: its thresholds promise more than they keep.**" in report
    assert sentence in report


def test_the_report_of_a_run_is_of_its_export(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="was not exported"):
        exported(tmp_path)
    (tmp_path / "export").mkdir()
    CONFIG.save(tmp_path / "export")
    assert exported(tmp_path) == tmp_path / "export"
    assert exported(tmp_path / "export") == tmp_path / "export"
    assert exported("someone/detector") == "someone/detector"
