from pathlib import Path

import keras
import numpy as np
import pytest

from training.config import BEST, LAST, RECIPES, TrainConfig
from training.data.rows import Photo
from training.fit.train_pairs import Validation, evidence_loss, fit_pairs, validation_figures
from training.fit.variation import UNKNOWN


def reference(mask: np.ndarray, evidence: np.ndarray) -> float:
    """Return the loss of one photo, place by place."""
    changed, untouched = [], []
    for share, log_odds in zip(mask.ravel().tolist(), evidence.ravel().tolist(), strict=True):
        if share == UNKNOWN:
            continue
        probability = 1 / (1 + np.exp(-log_odds))
        loss = -share * np.log(probability) - (1 - share) * np.log(1 - probability)
        changed.append((share, loss))
        untouched.append((1 - share, loss))

    def mean(weighed: list[tuple[float, float]]) -> float | None:
        total = sum(weight for weight, _ in weighed)
        return sum(weight * loss for weight, loss in weighed) / total if total else None

    means = [value for value in (mean(changed), mean(untouched)) if value is not None]
    return float(np.mean(means)) if means else 0.0


def loss(masks, evidence) -> np.ndarray:
    masks, evidence = (np.asarray(values, np.float32) for values in (masks, evidence))
    return np.asarray(evidence_loss(masks, evidence))


def gradient(masks: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Return the derivatives of the summed loss by the evidence, computed by the backend."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        variable = tf.Variable(evidence)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(evidence_loss(masks, variable))
        return tape.gradient(total, variable).numpy()
    import jax

    return np.asarray(jax.grad(lambda values: evidence_loss(masks, values).sum())(evidence))


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    """Masks `[5, 4, 3, 1]` and evidence: nothing, some, soft shares, parts unknown, all unknown."""
    rng = np.random.default_rng(0)
    evidence = rng.normal(0, 3, (5, 4, 3, 1)).astype(np.float32)
    masks = np.zeros_like(evidence)
    masks[1, :2, 0] = 1
    masks[2] = rng.random((4, 3, 1))
    masks[3, 0] = 0.7
    masks[3, 2:] = UNKNOWN
    masks[4] = UNKNOWN
    return masks, evidence


def test_evidence_loss_is_that_of_the_plain_sum(batch):
    masks, evidence = batch
    expected = [reference(*photo) for photo in zip(masks, evidence, strict=True)]
    losses = loss(masks, evidence)
    assert losses.shape == (5,)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert losses[4] == 0


def test_unknown_places_do_not_count(batch):
    masks, evidence = batch
    altered = np.where(masks == UNKNOWN, 50 - evidence, evidence)
    np.testing.assert_allclose(loss(masks, altered), loss(masks, evidence), rtol=1e-6)
    assert not gradient(masks, evidence)[masks == UNKNOWN].any()
    assert gradient(masks, evidence)[masks != UNKNOWN].all()


def test_few_changed_places_weigh_as_much_as_many_untouched_ones():
    masks = np.zeros((2, 10, 10, 1))
    masks[0, 0, 0] = 1
    masks[1, :5] = 1
    missed = np.where(masks == 1, -6.0, -20.0)  # all changed places are missed, and nothing else
    alarm = np.where(masks == 1, 20.0, 6.0)  # all untouched places are called changed
    np.testing.assert_allclose(loss(masks, missed), 3.0, atol=0.01)
    np.testing.assert_allclose(loss(masks, alarm), 3.0, atol=0.01)


def test_photos_changed_all_over_weigh_as_much_as_untouched_ones():
    masks = np.zeros((2, 4, 4, 1))
    masks[1] = 1
    np.testing.assert_allclose(loss(masks, np.where(masks == 1, -6.0, 6.0)), 6.0, atol=0.01)


def test_evidence_loss_falls_towards_the_truth(batch):
    masks, evidence = (values[:4] for values in batch)
    closer = evidence - 0.01 * gradient(masks, evidence)
    assert (loss(masks, closer) < loss(masks, evidence)).all()
    hard = np.array([[[[1.0], [0.0]]]])
    assert loss(hard, [[[[30.0], [-30.0]]]])[0] < 1e-6


@pytest.mark.parametrize("log_odds", [-100.0, 100.0])
def test_evidence_loss_is_finite_where_evidence_is_large(batch, log_odds):
    masks, evidence = batch
    large = np.full_like(evidence, log_odds)
    assert np.isfinite(loss(masks, large)).all()
    slopes = gradient(masks, large)
    assert np.isfinite(slopes).all()
    wrong = masks[1] == (log_odds < 0)
    assert (np.sign(slopes[1][wrong]) == np.sign(log_odds)).all()  # it still says where to go


def photo(label: str, source: str) -> Photo:
    return Photo("a.jpg", label, source, "", None, None, None, None, "g", "", path=Path("a.jpg"))


TRUTH = ["real", "fake", "real", "fake", "real", "fake", "fake"]
SOURCES = ["one"] * 4 + ["two"] * 3
PHOTOS = [photo(*columns) for columns in zip(TRUTH, SOURCES, strict=True)]
# Three of the four pairs of `one` are ranked correctly, and one of the two of `two`.
SCORES = np.array([0.2, 0.3, 0.6, 0.9, 0.5, 0.6, 0.1])


def test_figures_are_means_over_sources():
    figures = validation_figures(PHOTOS, SCORES, [])
    assert figures["val_auc_one"] == pytest.approx(0.75)
    assert figures["val_auc_two"] == pytest.approx(0.5)
    weighted = (2 * 0.75 + 3**0.5 * 0.5) / (2 + 3**0.5)  # of four photos and of three
    assert figures["val_auc"] == pytest.approx(weighted)  # all photos together would get 0.54
    assert figures["val_accuracy"] == pytest.approx(3 / 7)  # a score of one half says fake
    likely = [0.8, 0.3, 0.4, 0.9, 0.5, 0.6, 0.1]
    assert figures["val_loss"] == pytest.approx(-np.mean(np.log(likely)))
    assert set(figures) == {"val_auc", "val_auc_one", "val_auc_two", "val_loss", "val_accuracy"}
    assert all(type(value) is float for value in figures.values())


def test_fakes_alone_are_set_against_all_real_photos_and_real_ones_alone_have_no_figure():
    more = [*PHOTOS, photo("fake", "generated"), photo("real", "web")]
    scores = np.append(SCORES, [0.55, 0.9])
    figures = validation_figures(more, scores, [])
    assert figures["val_auc_generated"] == pytest.approx(2 / 4)  # above 0.2 and 0.5
    assert figures["val_auc_one"] == pytest.approx(0.75)  # among its own photos it is as before
    assert "val_auc_web" not in figures


def test_pairs_are_ranked_where_there_are_any():
    figures = validation_figures(PHOTOS, SCORES, [(1, 0), (1, 2), (3, 2), (6, 4)])
    assert figures["val_paired_ranking"] == pytest.approx(0.5)


def test_a_single_source_has_no_figures_of_its_own():
    figures = validation_figures(PHOTOS[:4], SCORES[:4], [(1, 0)])
    assert figures["val_auc"] == pytest.approx(0.75)
    assert figures["val_paired_ranking"] == 1
    assert set(figures) == {"val_auc", "val_loss", "val_accuracy", "val_paired_ranking"}


def test_sure_mistakes_cost_much_and_not_everything():
    figures = validation_figures(PHOTOS[:4], np.array([1.0, 0.0, 0.0, 1.0]), [])
    assert 5 < figures["val_loss"] < 20


def test_average_of_the_weights_is_measured_and_kept_and_training_goes_on_without(tmp_path):
    """The network has one layer of two weights, and the photos are numbers."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    network.set_weights([np.zeros((1, 2))])
    optimiser = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    network.compile(optimiser, lambda truth, output: keras.ops.mean(truth * output, -1))
    config = TrainConfig(**RECIPES["one-stage"])
    validation = Validation(network, PHOTOS, [], config, tmp_path, [])
    validation._batches = np.linspace(0, 1, len(PHOTOS))[:, None]
    seen = []
    predict = network.predict
    network.predict = lambda *args, **options: (
        seen.append(network.get_weights()[0]) or predict(*args, **options)
    )
    ones, target = np.ones((1, 1)), np.array([[0.0, -2.0]])  # each step adds 1 to one weight
    network.fit(ones, target, epochs=3, callbacks=[validation], verbose=0)
    # 1, then (1 + 2) / 2, then (1.5 + 3) / 2.
    np.testing.assert_allclose([weights[0, 1] for weights in seen], [1, 1.5, 2.25], rtol=1e-5)
    for name, weight in ((BEST, 1), (LAST, 2.25)):  # no later epoch ranks better
        kept = keras.models.load_model(tmp_path / name, compile=False).get_weights()[0]
        assert kept[0, 1] == pytest.approx(weight)


def test_best_of_an_earlier_process_is_not_overwritten_by_worse(tmp_path):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    config = TrainConfig(**{**RECIPES["one-stage"], "weight_average": 0.0})
    for best, written in ((0.99, False), (0.01, True)):
        validation = Validation(network, PHOTOS, [], config, tmp_path, [best])
        validation.set_model(network)
        validation._batches = np.linspace(0, 1, len(PHOTOS))[:, None]
        logs = {"accuracy": 0.5, "loss": 3.0, "probabilities_loss": 1.0}
        validation.on_epoch_end(0, logs)
        assert (tmp_path / BEST).exists() == written
        assert (logs["loss"], logs["total_loss"]) == (1.0, 3.0)
        assert {"val_auc", "val_loss", "val_accuracy"} <= logs.keys()


@pytest.mark.parametrize(
    ("history", "over"),
    [([], False), ([0.6], False), ([0.6, 0.7, 0.6, 0.7], False), ([0.7, 0.6, 0.6, 0.7], True)],
)
def test_training_is_over_after_epochs_without_a_better_one(tmp_path, history, over):
    config = TrainConfig(**RECIPES["short"])  # which waits for three
    validation = Validation(None, PHOTOS, [], config, tmp_path, history)
    assert validation.is_over == over
    if over:  # an earlier process stopped there, so nothing is trained or even loaded
        fit_pairs(None, config, {}, (len(history), 0), validation, [])
