import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drawing import draw_face
from training.data.rows import Photo
from training.measure.figures import compute_metrics
from training.measure.markdown import show
from training.measure.report import (
    plot_confusion,
    plot_curves,
    plot_mistakes,
    plot_reliability,
    plot_roc,
    plot_scores,
    write_report,
)
from training.measure.score_tables import kinds_table, sources_table


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch):
    """Draw few bootstrap samples for the bands of plots."""
    monkeypatch.setattr("training.measure.report.BAND_SAMPLES", 20)


def test_plots_are_pictures_that_follow_the_figures(tmp_path):
    history = [
        {"accuracy": 0.5, "val_accuracy": 0.5, "loss": 0.7, "val_loss": 0.7},
        {"accuracy": 0.8, "val_accuracy": 0.6, "loss": 0.5, "val_loss": 0.6},
    ]
    truth = np.array([0, 0, 1, 1])
    plot_curves(history, tmp_path / "curves.png")
    plot_curves(history[:1] * 2, tmp_path / "flat.png")
    plot_confusion(np.array([[3, 1], [0, 4]]), ["real", "fake"], tmp_path / "confusion.png")
    plot_confusion(np.array([[1, 3], [4, 0]]), ["real", "fake"], tmp_path / "wrong.png")
    mixed, parted = np.array([0.1, 0.6, 0.5, 0.9]), np.array([0.1, 0.2, 0.5, 0.9])
    plot_roc(truth, mixed, list("abcd"), tmp_path / "roc.png")
    plot_roc(truth, parted, list("abcd"), tmp_path / "perfect.png")
    plot_reliability(truth, mixed, tmp_path / "reliability.png")
    plot_reliability(truth, parted, tmp_path / "reliable.png")
    plot_scores(truth, mixed, {"real": 0.2, "fake": 0.8}, tmp_path / "scores.png")
    plot_scores(truth, mixed, {"real": 0.4, "fake": 0.8}, tmp_path / "thresholds.png")
    pictures = {path.stem: np.asarray(Image.open(path), int) for path in tmp_path.iterdir()}
    pairs = [("curves", "flat"), ("confusion", "wrong"), ("roc", "perfect")]
    pairs += [("reliability", "reliable"), ("scores", "thresholds")]
    for first, second in pairs:
        assert pictures[first].shape == pictures[second].shape
        assert np.abs(pictures[first] - pictures[second]).max() > 100


def photo(folder: Path, label: str, number: int) -> Photo:
    path = folder / f"{label}{number}.png"
    draw_face(number, 64).save(path)
    unknown = dict.fromkeys(("left_eye", "right_eye", "nose", "mouth"))
    return Photo(path.name, label, "s", "", group=path.stem, face="", path=path, **unknown)


def test_mistakes_are_shown_worst_first(tmp_path):
    photos = [photo(tmp_path, label, n) for label in ("real", "fake") for n in range(6)]
    good, bad = np.repeat([0.1, 0.9], 6), np.array([0.1] * 5 + [0.9] * 7)
    plot_mistakes(photos, good, tmp_path / "good.png")
    plot_mistakes(photos, bad, tmp_path / "bad.png")
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png"), int) for name in ("good", "bad")]
    change = np.abs(pictures[0] - pictures[1]).sum(axis=(1, 2))
    middle = len(change) // 2
    assert change[:middle].sum() > 10 * change[middle:].sum()  # real photos are in the upper row


def test_report_names_its_figures_and_its_plots(tmp_path):
    photos = [photo(tmp_path, label, n) for label in ("real", "fake") for n in range(12)]
    scores = np.random.default_rng(0).random(24)
    thresholds = {"real": 0.3, "fake": 0.7}
    figures = {"split": "test", **compute_metrics(photos, scores, thresholds=thresholds, samples=9)}
    write_report(figures, photos, scores, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert f"| ROC AUC | {show(figures['roc_auc'])} |" in text
    assert f"{figures['majority_baseline']:.3f}" in text
    assert "paired ranking: fake above the photo it was made from | not defined" in text
    plots = re.findall(r"\]\((.*?)\)", text)
    assert len(plots) == 4
    assert all((tmp_path / plot).is_file() for plot in plots)
    (tmp_path / "stress.png").touch()
    write_report(figures, photos, scores, tmp_path)
    assert "](stress.png)" in (tmp_path / "report.md").read_text()
    assert "mistakes" not in text  # the plot shows photos, so it is not in the report
    assert f"| s | 12 | {show(figures['roc_auc'])} |" in text  # the only source is among the kinds
    assert "| source |" not in text


def test_several_sources_have_a_row_each(tmp_path):
    photos = [photo(tmp_path, label, n) for n in range(12) for label in ("real", "fake")]
    photos = [
        replace(photo, source="stylegan_ffhq" if index < 10 else "mine")
        for index, photo in enumerate(photos)
    ]
    scores = np.random.default_rng(0).random(24)
    pairs = [(index + 1, index) for index in (12, 14, 16)]
    thresholds = {"real": 0.3, "fake": 0.7}
    figures = compute_metrics(photos, scores, thresholds=thresholds, pairs=pairs, samples=200)
    mine, generated = figures["by_source"]["mine"], figures["by_source"]["stylegan_ffhq"]
    assert sources_table(figures).splitlines() == [
        "| source | photos (fakes) | AUC | paired ranking | real called fake | fakes called fake |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| mine | 14 (7) | {show(mine['roc_auc'])} | {show(mine['paired_ranking'])}, 3 pairs | "
        f"{show(mine['real_called_fake'])} | {show(mine['fake_called_fake'])} |",
        f"| 140k Real and Fake Faces | 10 (5) | {show(generated['roc_auc'])} | no pairs | "
        f"{show(generated['real_called_fake'])} | {show(generated['fake_called_fake'])} |",
    ]
    assert kinds_table(figures) == ""  # no difficulty or part is known, and sources have their own
    write_report({"split": "test", **figures}, photos, scores, tmp_path)
    assert f"\n\n{sources_table(figures)}\n" in (tmp_path / "report.md").read_text()
