import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import training.measure.evaluate
import training.measure.stress
from space.contract import Calibration, DetectorConfig
from space.detector import BUNDLED
from space.photos import open_photo
from tests.drawing import draw_face
from training.data.rows import Photo, read_split
from training.errors import UserError
from training.fit.degrade import brighten
from training.measure.evaluate import evaluate
from training.measure.figures import check_measurable
from training.measure.stress import conditions, plot_stress, stress
from training.measure.stress_tables import CLEAN, stress_sources_table, stress_table

SHARES = ("real_called_fake", "fake_called_fake", "inconclusive")
CHANGES = ("verdict_changed", "verdict_reversed")


def greenness(photo: np.ndarray) -> float:
    """Return how green the eyes are, 0 to 1."""
    height, width = photo.shape[:2]
    eyes = photo[int(0.43 * height) : int(0.52 * height), int(0.3 * width) : int(0.7 * width)]
    red, green, blue = np.moveaxis(eyes.astype(float), -1, 0)
    return float((green - np.maximum(red, blue)).max().clip(0) / 255)


def brightness(photo: np.ndarray) -> float:
    return float(photo.mean() / 255)


class Stub:
    """A detector that judges by a function of the pixels."""

    name = "stub"

    def __init__(self, score, real: float, fake: float):
        self.score = score
        self.config = DetectorConfig(
            labels=["real", "fake"],
            input_size=224,
            crop_margin=1.33,
            thresholds={"real": real, "fake": fake},
            calibration=Calibration(),
            metrics={},
            sha256="0",
            variant="stub",
            trained_on="nothing",
            framing="photo",
        )

    def predict(self, photo: np.ndarray):
        probability = self.score(photo)
        return SimpleNamespace(probability=probability, verdict=self.config.verdict(probability))


@pytest.fixture
def judge(monkeypatch, data, tmp_path):
    """Return the figures by condition for a stub."""

    def run(stub: Stub) -> dict:
        monkeypatch.setattr(training.measure.stress, "load_detector", lambda model: stub)
        return stress("stub", data, "test", tmp_path, samples=20)["conditions"]

    return run


def values(figures: dict, names: tuple[str, ...]) -> list[float]:
    return [figures[name]["value"] for name in names]


def test_a_visible_difference_survives_jpeg_but_not_without_colour(judge, monkeypatch):
    grey = {"grey": lambda photo: np.repeat(photo.mean(-1, keepdims=True).astype(np.uint8), 3, -1)}
    monkeypatch.setattr(
        training.measure.stress, "conditions", lambda index=0: conditions(index) | grey
    )
    figures = judge(Stub(greenness, 0.15, 0.15))
    assert values(figures[CLEAN], SHARES) == [0, 1, 0]
    assert figures["JPEG quality 75"]["roc_auc"]["value"] == 1
    assert figures["JPEG quality 75"]["auc_change"]["value"] == 0
    assert figures["grey"]["roc_auc"]["value"] == 0.5
    assert figures["grey"]["auc_change"]["value"] == -0.5
    assert values(figures["grey"], SHARES) == [0, 0, 0]


def test_verdicts_that_scores_carry_over_a_threshold_are_counted(judge, data):
    photos = [np.asarray(open_photo(photo.path)) for photo in read_split(data, "test")]
    middle = float(np.median([brightness(photo) for photo in photos]))
    figures = judge(Stub(brightness, middle, middle))
    flipped = np.mean(
        [(brightness(brighten(p, 1.4)) >= middle) != (brightness(p) >= middle) for p in photos]
    )
    assert flipped > 0.1
    assert values(figures["brighter, x 1.4"], CHANGES) == pytest.approx([flipped, flipped])
    assert values(figures[CLEAN], CHANGES) == [0, 0]


def test_a_verdict_that_becomes_inconclusive_changes_but_is_not_reversed(judge, data):
    photos = [np.asarray(open_photo(photo.path)) for photo in read_split(data, "test")]
    brightest = max(brightness(photo) for photo in photos)
    figures = judge(Stub(brightness, brightest + 1e-6, 1.0))["brighter, x 1.4"]
    share = np.mean([brightness(brighten(photo, 1.4)) > brightest for photo in photos])
    assert share > 0.1
    assert values(figures, ("inconclusive", *CHANGES)) == pytest.approx([share, share, 0])


def test_shares_of_labels_are_of_their_own_photos(judge, data):
    fakes = np.mean([photo.is_fake for photo in read_split(data, "test")])
    figures = judge(Stub(lambda photo: 0.9 if greenness(photo) > 0.15 else 0.5, 0.2, 0.8))[CLEAN]
    assert values(figures, SHARES) == pytest.approx([0, 1, 1 - fakes])


def of_two_sources(data: Path, split: str) -> list[Photo]:
    """Return the photos of a split as if every other group came from another source."""
    photos = read_split(data, split)
    names = {}
    for photo in photos:
        names.setdefault(photo.group, ("one", "two")[len(names) % 2])
    return [replace(photo, source=names[photo.group]) for photo in photos]


def test_each_source_has_its_own_auc_and_change(judge, data, monkeypatch):
    black = {CLEAN: np.copy, "black": np.zeros_like}
    monkeypatch.setattr(training.measure.stress, "conditions", lambda index=0: black)
    monkeypatch.setattr(training.measure.stress, "read_split", of_two_sources)
    photos = of_two_sources(data, "test")
    known = {open_photo(photo.path).tobytes() for photo in photos if photo.source == "one"}
    # The stub sees nothing in the photos of the other source.
    figures = judge(Stub(lambda p: greenness(p) if p.tobytes() in known else 0.5, 0.2, 0.8))
    figures_by_source = {
        (name, source): (source_figures["roc_auc"]["value"], source_figures["auc_change"]["value"])
        for name, condition in figures.items()
        for source, source_figures in condition["by_source"].items()
    }
    assert figures_by_source == {
        (CLEAN, "one"): (1, 0),
        (CLEAN, "two"): (0.5, 0),
        ("black", "one"): (0.5, -0.5),
        ("black", "two"): (0.5, 0),
    }
    change = figures["black"]["by_source"]["one"]["auc_change"]
    assert change["low"] == change["high"] == -0.5  # both on the same bootstrap samples


def test_a_source_of_one_label_has_no_auc(judge, monkeypatch):
    def alone(data: Path, split: str) -> list[Photo]:
        first, *others = of_two_sources(data, split)
        return [replace(first, source="alone"), *others]

    monkeypatch.setattr(training.measure.stress, "conditions", lambda index=0: {CLEAN: np.copy})
    monkeypatch.setattr(training.measure.stress, "read_split", alone)
    figures = judge(Stub(greenness, 0.2, 0.8))
    assert figures[CLEAN]["by_source"].keys() == {"one", "two"}


@pytest.mark.slow
def test_clean_photos_and_their_intervals_are_those_of_evaluate(data, tmp_path, monkeypatch):
    few = ("clean", "64 px and back")
    for module in (training.measure.stress, training.measure.evaluate):
        monkeypatch.setattr(module, "read_split", of_two_sources)
    monkeypatch.setattr(
        training.measure.stress,
        "conditions",
        lambda index=0: {name: change for name, change in conditions(index).items() if name in few},
    )
    results = stress(BUNDLED, data, "test", tmp_path / "stress", samples=20)
    figures = evaluate(BUNDLED, data, "test", tmp_path / "evaluate", samples=20)
    clean = results["conditions"][CLEAN]
    assert clean["roc_auc"] == pytest.approx(figures["roc_auc"])
    assert clean["by_source"].keys() == {"one", "two"}
    for name, source_figures in clean["by_source"].items():
        assert source_figures["roc_auc"] == pytest.approx(figures["by_source"][name]["roc_auc"])
    for name in SHARES:
        assert clean[name] == pytest.approx(figures["verdicts"][name])
    stored = json.loads((tmp_path / "stress" / "stress.json").read_text())
    assert stored == results
    assert stored["data_fingerprint"] == figures["data_fingerprint"]


def test_conditions_differ_from_the_clean_photo_and_from_each_other():
    photo = np.asarray(draw_face(3, 256))
    changed = {name: change(photo) for name, change in conditions().items()}
    assert np.array_equal(changed.pop(CLEAN), photo)
    assert len({pixels.tobytes() for pixels in [photo, *changed.values()]}) == len(changed) + 1


def test_each_photo_has_noise_of_its_own_and_the_same_in_every_call():
    photo = np.full((64, 64, 3), 128, np.uint8)
    first, repeated, second = (conditions(index)["noise, 15 levels"](photo) for index in (0, 0, 1))
    assert np.array_equal(first, repeated)
    assert not np.array_equal(first, second)


def figures_of(auc: float, share: float) -> dict:
    def spread(value: float) -> dict:
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    shares = {name: spread(share) for name in (*SHARES, *CHANGES)}
    return {"roc_auc": spread(auc), "auc_change": spread(auc - 0.9), **shares}


def test_table_has_a_row_for_each_condition():
    results = {"conditions": {CLEAN: figures_of(0.9, 0.1), "blur, 1 px": figures_of(0.7, 0.25)}}
    clean, blurred = stress_table(results).splitlines()[2:]
    assert clean.startswith("| clean | 0.900 (0.850 to 0.950) |  | 10.0 % |")
    assert "| 0.700 (0.650 to 0.750) | -0.200 (-0.250 to -0.150) | 25.0 % |" in blurred


def test_sources_have_a_column_each_where_there_are_several():
    clean, blurred = figures_of(0.9, 0.1), figures_of(0.7, 0.1)
    results = {"conditions": {CLEAN: clean, "blur, 1 px": blurred}}
    assert stress_sources_table(results) == ""  # from when there was one source
    clean["by_source"], blurred["by_source"] = {"dfdc": clean.copy()}, {"dfdc": blurred.copy()}
    assert stress_sources_table(results) == ""
    clean["by_source"]["mine"], blurred["by_source"]["mine"] = (
        {"roc_auc": {"value": auc}, "auc_change": {"value": auc - 0.8}} for auc in (0.8, 0.85)
    )
    assert stress_sources_table(results).splitlines() == [
        "| AUC (difference) | Deepfake Detection Challenge | mine |",
        "| --- | --- | --- |",
        "| clean | 0.900 | 0.800 |",
        "| blur, 1 px | 0.700 (-0.200) | 0.850 (+0.050) |",
    ]


def test_plot_follows_the_figures(tmp_path):
    for name, auc, share in (("a", 0.7, 0.1), ("b", 0.8, 0.1), ("c", 0.7, 0.6)):
        results = {"conditions": {CLEAN: figures_of(0.9, 0), "blur, 1 px": figures_of(auc, share)}}
        plot_stress(results, tmp_path / f"{name}.png")
    base, other_auc, other_share = (
        np.asarray(Image.open(tmp_path / f"{name}.png"), int) for name in "abc"
    )
    assert np.abs(base - other_auc).max() > 100
    assert np.abs(base - other_share).max() > 100


def test_what_cannot_be_measured_is_one_sentence(data, tmp_path):
    with pytest.raises(UserError, match="give --output"):
        stress(tmp_path / "missing", data, "test")
    with pytest.raises(UserError, match="cannot be read"):
        stress(tmp_path, data, "test")
    photos = read_split(data, "test")
    with pytest.raises(UserError, match="19 photos, too few"):
        check_measurable(photos[:19])
    with pytest.raises(UserError, match="fake photos only"):
        check_measurable([replace(photo, label="fake") for photo in photos])


def test_figures_go_beside_the_model_where_no_folder_is_given(data, tmp_path, monkeypatch):
    model = shutil.copytree(BUNDLED, tmp_path / "model")
    monkeypatch.setattr(
        training.measure.stress, "load_detector", lambda _: Stub(greenness, 0.2, 0.2)
    )
    stress(model, data, "test", samples=2)
    assert (model / "stress.json").is_file()
    assert (model / "stress.png").is_file()
