"""Plots of training and evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay


def plot_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Plot accuracy and loss of training and validation by epoch.

    Args:
        history: one dict of figures an epoch, named as Keras logs them.
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


def plot_roc(truth: np.ndarray, scores: np.ndarray, path: Path) -> None:
    """Plot the ROC curve of scores for fake against the diagonal of chance.

    Args:
        truth: labels `[photos]`, 1 = fake.
        scores: probabilities of fake `[photos]`.
        path: PNG file to write.
    """
    figure = Figure(figsize=(4, 3.8), layout="constrained")
    axes = figure.subplots()
    RocCurveDisplay.from_predictions(truth, scores, ax=axes, plot_chance_level=True, name="fake")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
