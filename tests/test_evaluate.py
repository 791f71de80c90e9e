import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.dataset import PhotoRow, read_report, read_split
from training.errors import UserError
from training.evaluate import compute_metrics, evaluate, keras_scores


def row(label: str, difficulty: str = "") -> PhotoRow:
    return PhotoRow("a.jpg", label, "s", difficulty, None, None, None, None, "g")


def test_figures_of_a_case_worked_by_hand():
    rows = [row("real")] * 4 + [row("fake", "easy")] * 2 + [row("fake", "hard")]
    scores = np.array([0.1, 0.2, 0.6, 0.4, 0.9, 0.3, 0.7])
    figures = compute_metrics(rows, scores)
    assert figures["photos"] == 7
    assert figures["confusion_matrix"] == [[3, 1], [1, 2]]
    assert figures["accuracy"] == pytest.approx(5 / 7)
    assert figures["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert figures["majority_baseline"] == pytest.approx(4 / 7)
    assert figures["roc_auc"] == pytest.approx(10 / 12)
    # Fakes at ranks 1, 2 and 5 of the scores: precision 1, 1 and 3/5.
    assert figures["average_precision"] == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert figures["per_class"]["fake"]["precision"] == pytest.approx(2 / 3)
    assert figures["by_difficulty"] == {
        "easy": {"fakes": 2, "recall": 0.5, "roc_auc": pytest.approx(6 / 8)},
        "hard": {"fakes": 1, "recall": 1.0, "roc_auc": 1.0},
    }


def test_threshold_moves_the_verdict_alone():
    rows = [row("real"), row("fake")]
    strict = compute_metrics(rows, np.array([0.2, 0.6]), threshold=0.7)
    assert strict["confusion_matrix"] == [[1, 0], [1, 0]]
    assert strict["roc_auc"] == 1.0


def test_one_label_alone_is_refused():
    with pytest.raises(UserError, match="one label only"):
        compute_metrics([row("real")] * 3, np.zeros(3))


def test_run_is_measured_with_keras(run, data, tmp_path):
    figures = evaluate(run, data, "test", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "metrics.json",
        "confusion.png",
        "roc.png",
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) == figures
    labels = [row.label == "fake" for row in read_split(data, "test")]
    assert figures["roc_auc"] == roc_auc_score(labels, keras_scores(run, data, "test"))
    assert figures["split"] == "test"
    assert figures["data_fingerprint"] == read_report(data)["fingerprint"]


def test_what_is_no_model_is_one_sentence(data, tmp_path):
    with pytest.raises(UserError, match="train or export first"):
        evaluate(tmp_path, data)
    with pytest.raises(UserError, match="give --output"):
        evaluate(tmp_path / "missing", data)
