"""Reports of training and evaluation: PNG plots and Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, roc_curve

from space.photos import open_photo
from training.data.rows import LABELS, Photo
from training.measure.failures import failures_list
from training.measure.footprint import footprint_table
from training.measure.left_out import left_out_table
from training.measure.metrics import estimate
from training.measure.score_tables import kinds_table, metrics_table, sources_table, verdicts_table
from training.measure.tier_tables import (
    accusations_table,
    caveats,
    found_table,
    reasons_sentences,
    stability_table,
    strengths_table,
    tiers_table,
    whom_sentences,
    whom_table,
)

REPORT, MISTAKES = "report.md", "mistakes.png"
ROBUSTNESS = "stress.png"  # of `python -m training stress`
BAND_SAMPLES = 500
TEMPLATE = Path(__file__).with_name("report_template.md")


def plot_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Plot accuracy and loss of training and validation by epoch.

    Args:
        history: one dict of figures per epoch, named as Keras logs them.
        path: PNG file to write.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for prefix, label in (("", "training"), ("val_", "validation")):
            axes.plot(epochs, [epoch[prefix + name] for epoch in history], "o-", label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def plot_confusion(matrix: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Plot a confusion matrix `[true, predicted]` of counts."""
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    display = ConfusionMatrixDisplay(np.asarray(matrix), display_labels=list(labels))
    display.plot(ax=figure.subplots(), cmap="Blues", colorbar=False)
    figure.savefig(path, dpi=120)


def plot_roc(truth: np.ndarray, scores: np.ndarray, groups: Sequence[str], path: Path) -> None:
    """Plot the ROC curve of scores for fake, with a 95 % band, against the diagonal of chance.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: probabilities of fake `[photos]`.
        groups: the group of each photo, for the band.
        path: PNG file to write.
    """
    grid = np.linspace(0, 1, 101)

    def curve(weights: np.ndarray) -> dict[str, float]:
        if len(np.unique(truth[weights > 0])) < 2:
            return dict.fromkeys(map(str, grid), float("nan"))
        fpr, tpr, _ = roc_curve(truth, scores, sample_weight=weights)
        return dict(zip(map(str, grid), np.interp(grid, fpr, tpr), strict=True))

    band = list(estimate(curve, groups, samples=BAND_SAMPLES).values())
    figure = Figure(figsize=(4, 3.8), layout="constrained")
    axes = figure.subplots()
    low, high = ([point[bound] for point in band] for bound in ("low", "high"))
    axes.fill_between(grid, low, high, alpha=0.2, label="95 % band")
    RocCurveDisplay.from_predictions(truth, scores, ax=axes, plot_chance_level=True, name="fake")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def plot_reliability(truth: np.ndarray, scores: np.ndarray, path: Path) -> None:
    """Plot the share of fakes against the probability of fake, in ten bins of equal counts."""
    figure = Figure(figsize=(4, 3.8), layout="constrained")
    axes = figure.subplots()
    CalibrationDisplay.from_predictions(
        truth, scores, n_bins=10, strategy="quantile", ax=axes, name="photos"
    )
    axes.set(xlabel="probability of fake", ylabel="share of fakes", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def plot_scores(
    truth: np.ndarray, scores: np.ndarray, thresholds: Mapping[str, float], path: Path
) -> None:
    """Plot a histogram of the probabilities of real and fake photos, with the two thresholds."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 31)
    for label, name in enumerate(LABELS):
        axes.hist(scores[truth == label], bins, alpha=0.55, label=f"{name} photos")
    for name, threshold in thresholds.items():
        axes.axvline(threshold, linestyle="--", color="black", linewidth=1)
        side = "right" if name == "real" else "left"
        axes.text(threshold, axes.get_ylim()[1], f" {name} ", ha=side, va="top")
    axes.set(xlabel="probability of fake", ylabel="photos")
    axes.legend()
    figure.savefig(path, dpi=120)


def plot_mistakes(photos: Sequence[Photo], scores: np.ndarray, path: Path) -> None:
    """Plot the fakes with the lowest and the real photos with the highest probability of fake.

    Keep the file local: it shows photos of the dataset.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    grid = figure.subplots(2, 5)
    order = np.argsort(scores)
    worst = (
        [index for index in order[::-1] if not photos[index].is_fake],
        [index for index in order if photos[index].is_fake],
    )
    for row, indices in zip(grid, worst, strict=True):
        for axes in row:
            axes.axis("off")
        for axes, index in zip(row, indices, strict=False):
            axes.imshow(np.asarray(open_photo(photos[index].path)))
            axes.set_title(f"{photos[index].label}, {scores[index]:.2f}", fontsize=9)
    figure.savefig(path, dpi=90)


def write_report(
    figures: Mapping, photos: Sequence[Photo], scores: np.ndarray, output: Path
) -> None:
    """Write `report.md` and its plots into a folder.

    Args:
        figures: what `training.measure.figures.compute_metrics` returned.
        photos: the photos.
        scores: probabilities of fake `[photos]`.
        output: the folder.
    """
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    plot_confusion(figures["confusion_matrix"], LABELS, output / "confusion.png")
    plot_roc(truth, scores, [photo.group for photo in photos], output / "roc.png")
    plot_reliability(truth, scores, output / "reliability.png")
    plot_scores(truth, scores, figures["thresholds"], output / "scores.png")
    plot_mistakes(photos, scores, output / MISTAKES)
    measured = (output / ROBUSTNESS).is_file()  # a new export has not been through the stress test
    robustness = f"\n![After compression, blur and the like]({ROBUSTNESS})\n" if measured else ""
    text = TEMPLATE.read_text().format(robustness=robustness, **_report_parts(figures))
    (output / REPORT).write_text(text)


def _after_gap(table: str) -> str:
    return f"\n{table}\n" if table else ""


def _report_parts(figures: Mapping) -> dict[str, str]:
    return {
        "split": figures["split"],
        "photos": figures["photos"],
        "fakes": figures["fakes"],
        "groups": figures["groups"],
        "pairs": figures["pairs"],
        "samples": figures["bootstrap_samples"],
        "metrics": metrics_table(figures),
        "verdicts": verdicts_table(figures),
        "kinds": kinds_table(figures),
        "sources": _after_gap(sources_table(figures)),
        "served": _served_parts(figures),
    }


def _served_parts(figures: Mapping) -> str:
    """Return the part of the report about the model as it is served, empty for a run."""
    parts = (
        ("## Real photos called fake", accusations_table(figures)),
        ("## Fakes found", found_table(figures)),
        ("## How foreign the photos are", tiers_table(figures), reasons_sentences(figures)),
        ("## Kinds it never saw, left out in turn", _left_out(figures)),
        ("## Where it fails", failures_list(figures)),
        ("## Strength of evidence", strengths_table(figures)),
        ("## Stability", stability_table(figures)),
        ("## By whom", *_whom(figures)),
        ("## Footprint", footprint_table(figures)),
    )
    bullets = [f"- {sentence}" for sentence in caveats(figures)]
    texts = ["\n".join(bullets)] if bullets else []
    texts += ["\n\n".join(filter(None, part)) for part in parts if part[1]]
    return "\n\n".join(texts) + "\n\n" if texts else ""


def _left_out(figures: Mapping) -> str:
    return left_out_table(figures) if "left_out" in figures else ""


def _whom(figures: Mapping) -> list[str]:
    """Return the table and sentences by people shown; an empty text if nothing is known of them."""
    return [text for text in (whom_table(figures), whom_sentences(figures)) if text] or [""]
