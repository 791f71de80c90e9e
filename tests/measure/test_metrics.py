from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.data.rows import PhotoRow
from training.errors import UserError
from training.measure.figures import compute_metrics
from training.measure.metrics import (
    auc_estimate,
    calibration_error,
    estimate,
    mean_auc,
    source_aucs,
    source_weights,
    weighted_auc,
)

HALF = {"real": 0.5, "fake": 0.5}
# Four photos of each kind, so that there are enough of them.
SCORES = np.tile([0.1, 0.2, 0.6, 0.4, 0.9, 0.3, 0.7], 4)


def row(
    label: str,
    difficulty: str = "",
    mouth: float | None = None,
    group: str = "g",
    source: str = "s",
) -> PhotoRow:
    return PhotoRow("a.jpg", label, source, difficulty, None, None, None, mouth, group, "")


@pytest.fixture
def rows() -> list[PhotoRow]:
    kinds = [("real",)] * 4 + [("fake", "easy", 1.0), ("fake", "easy", 0.0), ("fake", "hard", 1.0)]
    return [row(*kind, group=str(number)) for number, kind in enumerate(kinds * 4)]


def values(figures: dict) -> dict:
    return {
        name: figure["value"]
        for name, figure in figures.items()
        if isinstance(figure, dict) and "value" in figure
    }


def test_figures_of_a_case_worked_by_hand(rows):
    pairs = [(4, 2), (5, 2), (6, 2), (11, 10)]
    figures = compute_metrics(rows, SCORES, thresholds=HALF, pairs=pairs, samples=10)
    assert (figures["photos"], figures["fakes"], figures["groups"]) == (28, 12, 28)
    assert figures["confusion_matrix"] == [[12, 4], [4, 8]]
    assert figures["majority_baseline"] == pytest.approx(4 / 7)
    assert values(figures) == {
        "roc_auc": pytest.approx(10 / 12),
        # Fakes at the first two and the fifth of the seven scores: precision 1, 1 and 3/5.
        "average_precision": pytest.approx((1 + 1 + 3 / 5) / 3),
        "accuracy": pytest.approx(5 / 7),
        "balanced_accuracy": pytest.approx((3 / 4 + 2 / 3) / 2),
        # Where two of three fakes are found, up to half of the real photos are called fake.
        "equal_error_rate": pytest.approx(1 / 3),
        "tpr_at_1_fpr": pytest.approx(2 / 3),
        "tpr_at_5_fpr": pytest.approx(2 / 3),
        "brier_score": pytest.approx((0.01 + 0.04 + 0.36 + 0.16 + 0.01 + 0.49 + 0.09) / 7),
        "calibration_error": pytest.approx((0.1 + 0.2 + 0.6 + 0.4 + 0.1 + 0.7 + 0.3) / 7),
        "paired_ranking": pytest.approx(3 / 4),
    }
    easy, hard = (figures["by_difficulty"][name] for name in ("easy", "hard"))
    assert (easy["fakes"], hard["fakes"]) == (8, 4)
    assert values(easy) == {"roc_auc": pytest.approx(6 / 8), "called_fake": 0.5}
    assert values(hard) == {"roc_auc": 1.0, "called_fake": 1.0}
    assert values(figures["by_part"]["mouth"]) == {"roc_auc": 1.0, "called_fake": 1.0}
    assert figures["by_part"].keys() == {"mouth"}  # nothing is known of the others
    assert figures["by_source"].keys() == {"s"}


@pytest.fixture
def two_sources() -> tuple[list[PhotoRow], np.ndarray]:
    """Photos of two sources in turn, and scores that do not overlap: the real photos of one source
    score above the fakes of the other."""
    rng = np.random.default_rng(3)
    rows, scores = [], []
    for number in range(60):
        for source, lowest in (("low", 0.0), ("high", 0.6)):
            label = "fake" if number % 3 == 0 else "real"
            difficulty, mouth = ("easy", 1.0) if (source, label) == ("low", "fake") else ("", None)
            # Three photos a group, a fake among them.
            rows.append(row(label, difficulty, mouth, f"{source}{number // 3:02d}", source))
            scores.append(lowest + 0.3 * rng.random() + 0.1 * (label == "fake"))
    return rows, np.array(scores)


def test_each_source_gets_the_figures_of_its_photos_alone(two_sources):
    rows, scores = two_sources
    thresholds = {"real": 0.2, "fake": 0.8}
    pairs = [(0, 2), (1, 3), (6, 8), (7, 1), (0, 3)]  # the last is of two sources
    own_pairs = {"low": [(0, 1), (3, 4)], "high": [(0, 1), (3, 0)]}
    figures = compute_metrics(rows, scores, thresholds=thresholds, pairs=pairs, samples=50)
    assert figures["by_source"].keys() == {"low", "high"}
    for name, source in figures["by_source"].items():
        chosen = [index for index, photo in enumerate(rows) if photo.source == name]
        alone = compute_metrics(
            [rows[index] for index in chosen],
            scores[chosen],
            thresholds=thresholds,
            pairs=own_pairs[name],
            samples=50,
        )
        assert (source["photos"], source["fakes"], source["pairs"]) == (60, 20, 2)
        expected = {key: alone[key] for key in ("roc_auc", "paired_ranking")} | alone["verdicts"]
        for key, figure in expected.items():
            assert source[key] == pytest.approx(figure), key
        assert source["called_fake"] == source["fake_called_fake"]
        assert 0 < source["roc_auc"]["low"] < source["roc_auc"]["value"] < source["roc_auc"]["high"]
    low, high = (figures["by_source"][name] for name in ("low", "high"))
    assert low["real_called_fake"]["value"] == 0 < high["real_called_fake"]["value"]
    assert high["fake_called_real"]["value"] == 0 < low["fake_called_real"]["value"]


def test_fakes_are_compared_with_real_photos_of_their_own_source(two_sources):
    rows, scores = two_sources
    figures = compute_metrics(rows, scores, thresholds=HALF, samples=50)
    own = figures["by_source"]["low"]["roc_auc"]
    for kind in (figures["by_difficulty"]["easy"], figures["by_part"]["mouth"]):
        assert kind["fakes"] == 20
        assert kind["roc_auc"] == pytest.approx(own)
    assert own["value"] > figures["roc_auc"]["value"] + 0.1  # the other source lies in between


def test_a_kind_of_fake_in_two_sources_is_compared_within_each(two_sources):
    rows, scores = two_sources
    hard = [replace(photo, difficulty="hard") if photo.label == "fake" else photo for photo in rows]
    figures = compute_metrics(hard, scores, thresholds=HALF, samples=50)
    # Both sources hold as many pairs of a fake and a real photo.
    aucs = [source["roc_auc"]["value"] for source in figures["by_source"].values()]
    assert figures["by_difficulty"]["hard"]["roc_auc"]["value"] == pytest.approx(np.mean(aucs))


def test_a_source_of_one_label_keeps_what_can_be_said_of_it(rows):
    photos = [*rows, row("real", source="more"), row("real", source="more", group="h")]
    scores = np.append(SCORES, [0.2, 0.9])
    more = compute_metrics(photos, scores, thresholds=HALF, samples=10)["by_source"]["more"]
    assert (more["photos"], more["fakes"], more["roc_auc"]["value"]) == (2, 0, None)
    assert more["real_called_fake"]["value"] == 0.5


def test_fakes_alone_are_set_against_the_real_photos_of_all(rows):
    fakes = [row("fake", source="web", group=f"w{number}") for number in range(3)]
    scores = np.append(SCORES, [0.5, 0.95, 0.15])
    pairs = [(28, 2), (29, 2), (4, 2)]  # the first two with a real photo of another source
    figures = compute_metrics(
        [*rows, *fakes], scores, thresholds={"real": 0.2, "fake": 0.9}, pairs=pairs, samples=10
    )
    web = figures["by_source"]["web"]
    assert (web["photos"], web["fakes"], web["pairs"]) == (3, 3, 2)
    assert web["roc_auc"]["value"] == pytest.approx((3 + 4 + 1) / 12)
    assert web["paired_ranking"]["value"] == 0.5
    assert web["fake_called_fake"]["value"] == pytest.approx(1 / 3)
    assert web["inconclusive"]["value"] == pytest.approx(1 / 3)
    assert web["real_called_fake"]["value"] is None  # the real photos are of other sources
    assert figures["by_source"]["s"]["pairs"] == 1


def test_verdicts_are_counted_by_label(rows):
    thresholds = {"real": 0.25, "fake": 0.65}
    figures = compute_metrics(rows, SCORES, thresholds=thresholds, samples=10)
    assert values(figures["verdicts"]) == {
        "inconclusive": pytest.approx(3 / 7),
        "real_called_fake": 0.0,
        "fake_called_real": 0.0,
        "fake_called_fake": pytest.approx(2 / 3),
        "accuracy_where_decided": 1.0,
    }
    assert figures["accuracy"]["value"] == pytest.approx(5 / 7)  # thresholds change only verdicts


def test_what_is_not_defined_is_none(rows):
    figures = compute_metrics(rows, SCORES, thresholds={"real": 0.0, "fake": 1.0}, samples=10)
    assert figures["paired_ranking"] == {"value": None, "low": None, "high": None}
    assert figures["verdicts"]["accuracy_where_decided"]["value"] is None


def test_interval_has_the_width_that_theory_gives():
    rng = np.random.default_rng(1)
    hits = (rng.random(400) < 0.3).astype(float)
    figure = estimate(
        lambda weights: {"share": np.average(hits, weights=weights)}, [str(n) for n in range(400)]
    )["share"]
    error = np.sqrt(0.3 * 0.7 / 400)
    assert figure["value"] == pytest.approx(hits.mean())
    assert figure["high"] - figure["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_photos_of_one_group_are_drawn_together():
    rng = np.random.default_rng(1)
    truth, scores = rng.integers(0, 2, 100), rng.random(100)
    alone = auc_estimate(truth, scores, [f"{n:03d}" for n in range(100)], samples=100)
    fourfold = [np.tile(array, 4) for array in (truth, scores)]
    grouped = auc_estimate(*fourfold, [f"{n:03d}" for n in range(100)] * 4, samples=100)
    apart = auc_estimate(*fourfold, [f"{n:03d}" for n in range(400)], samples=100)
    assert grouped == pytest.approx(alone)  # copies are no evidence
    assert apart["high"] - apart["low"] < 0.7 * (grouped["high"] - grouped["low"])


def test_calibration_error_of_a_calibrated_score_is_small():
    rng = np.random.default_rng(2)
    scores = rng.random(20_000)
    truth = (rng.random(20_000) < scores).astype(int)
    weights = np.ones(20_000, dtype=int)
    assert calibration_error(truth, scores, weights) < 0.02
    assert calibration_error(truth, scores**3, weights) > 0.2


def test_weighted_auc_is_that_of_the_library():
    rng = np.random.default_rng(5)
    truth, scores = rng.integers(0, 2, 200), rng.integers(0, 30, 200) / 30  # with ties
    auc = weighted_auc(truth, scores)
    for weights in (np.ones(200, int), *rng.integers(0, 4, (5, 200))):
        expected = roc_auc_score(truth, scores, sample_weight=weights)
        assert auc(weights) == pytest.approx(expected)
    assert np.isnan(auc(truth))
    sources = np.repeat(["one", "two"], [150, 50])
    own = weighted_auc(truth, scores, sources)
    assert own((sources == "two").astype(int)) == pytest.approx(
        roc_auc_score(truth[150:], scores[150:])
    )


@pytest.fixture
def three_sources() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels, scores and sources: 70 photos of both labels, 20 fakes alone, 10 real ones alone."""
    rng = np.random.default_rng(6)
    truth = np.concatenate([rng.integers(0, 2, 70), np.ones(20, int), np.zeros(10, int)])
    return truth, rng.random(100), ["both"] * 70 + ["fakes"] * 20 + ["reals"] * 10


def test_fakes_are_set_against_their_own_real_photos_or_against_all(three_sources):
    truth, scores, sources = three_sources
    aucs = source_aucs(truth, scores, sources)
    assert aucs.keys() == {"both", "fakes"}  # a source without fakes has none
    assert aucs["both"] == pytest.approx(roc_auc_score(truth[:70], scores[:70]))
    against = np.flatnonzero((truth == 0) | (np.array(sources) == "fakes"))
    assert aucs["fakes"] == pytest.approx(roc_auc_score(truth[against], scores[against]))
    labels = ["fake" if is_fake else "real" for is_fake in truth]  # sources of one label each
    assert source_aucs(truth, scores, labels) == {
        "fake": pytest.approx(roc_auc_score(truth, scores))
    }


def test_mean_auc_counts_sources_by_the_root_of_their_size(three_sources):
    truth, scores, sources = three_sources
    aucs = source_aucs(truth, scores, sources)
    expected = np.average([aucs["both"], aucs["fakes"]], weights=[70**0.5, 20**0.5])
    assert mean_auc(truth, scores, sources) == pytest.approx(expected)
    one_source = ["one"] * 100
    assert mean_auc(truth, scores, one_source) == pytest.approx(roc_auc_score(truth, scores))


def test_photos_of_a_large_source_weigh_less():
    weights = source_weights(["large"] * 16 + ["small"] * 4)
    assert weights.mean() == pytest.approx(1)
    assert weights[:16].sum() == pytest.approx(2 * weights[16:].sum())
    assert len(set(weights[:16])) == len(set(weights[16:])) == 1
    np.testing.assert_allclose(source_weights(["one"] * 5), 1)


def test_one_label_and_few_photos_are_refused():
    with pytest.raises(UserError, match="real photos only"):
        compute_metrics([row("real")] * 20, np.zeros(20), thresholds=HALF)
    with pytest.raises(UserError, match="holds 2 photos, too few"):
        compute_metrics([row("real"), row("fake")], np.zeros(2), thresholds=HALF)
