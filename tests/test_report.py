import numpy as np
from PIL import Image

from training.report import plot_confusion, plot_curves, plot_roc


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
    plot_roc(truth, np.array([0.1, 0.6, 0.5, 0.9]), tmp_path / "roc.png")
    plot_roc(truth, np.array([0.1, 0.2, 0.5, 0.9]), tmp_path / "perfect.png")
    pictures = {path.stem: np.asarray(Image.open(path), int) for path in tmp_path.iterdir()}
    for one, other in (("curves", "flat"), ("confusion", "wrong"), ("roc", "perfect")):
        assert pictures[one].shape == pictures[other].shape
        assert np.abs(pictures[one] - pictures[other]).max() > 100
