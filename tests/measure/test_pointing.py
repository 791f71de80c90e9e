import numpy as np
import pytest

from tests.fit.test_masks import row
from training.data.rows import Photo
from training.fit.masks import Target
from training.measure.pointing import (
    CENTRE,
    centre_prior,
    energy_inside,
    fading_curves,
    localisation,
    overlaps,
    paint,
    pointing_game,
)

SIDE = 100
MASK = np.zeros((SIDE, SIDE), bool)
MASK[20:40, 10:60] = True  # a tenth of the photo
PERFECT, INVERTED, EMPTY = MASK.astype(float), (~MASK).astype(float), np.zeros(MASK.shape)


def spot(line: int, column: int) -> np.ndarray:
    heatmap = np.zeros((SIDE, SIDE))
    heatmap[line, column] = 1
    return heatmap


def test_scores_of_a_perfect_an_inverted_and_an_empty_map():
    assert pointing_game(PERFECT, MASK) == energy_inside(PERFECT, MASK) == 1
    assert overlaps(PERFECT, MASK).max() == 1
    assert pointing_game(spot(80, 80), MASK) == energy_inside(INVERTED, MASK) == 0
    assert overlaps(INVERTED, MASK).max() == 0
    assert pointing_game(EMPTY, MASK) == energy_inside(EMPTY, MASK) == overlaps(EMPTY, MASK).max()
    assert energy_inside(np.ones(MASK.shape), MASK) == pytest.approx(0.1)


def test_pointing_may_miss_by_six_percent_of_the_side():
    assert pointing_game(spot(30, 65), MASK) == 1
    assert pointing_game(spot(30, 67), MASK) == 0


def test_equal_maxima_share_the_point():
    assert pointing_game(spot(30, 30) + spot(80, 80), MASK) == 0.5


def test_iou_is_cut_at_a_share_of_the_maximum():
    wide = np.zeros(MASK.shape)
    wide[20:40, 10:80] = 0.3
    ious = overlaps(3 * (wide + PERFECT), MASK)
    assert ious[0] == pytest.approx(50 / 70)  # 5 % of the maximum
    assert ious[-1] == 1


def test_painting_keeps_the_maximum_in_its_place():
    heatmap = np.zeros((7, 7))
    heatmap[0, 6], heatmap[3, 2] = 0.95, 1.0  # at the edge nothing pulls a maximum down
    painted = paint(heatmap, 224)
    assert painted.shape == (224, 224)
    assert painted.max() <= 1
    line, column = np.unravel_index(painted.argmax(), painted.shape)
    assert (line // 32, column // 32) == (3, 2)


def test_curves_rise_and_fall_at_once_with_a_perfect_map():
    rng = np.random.default_rng(0)
    photo = (255 * rng.integers(0, 2, (SIDE, SIDE, 3))).astype(np.uint8)

    def judge(pixels: np.ndarray) -> float:
        return (pixels == photo)[MASK].mean()

    insertion, deletion = fading_curves(judge, photo, PERFECT, rng)
    np.testing.assert_allclose(insertion, [0] + [1] * 10, atol=0.01)
    np.testing.assert_allclose(deletion, [1] + [0] * 10, atol=0.01)
    insertion, deletion = fading_curves(judge, photo, INVERTED, rng)
    np.testing.assert_allclose(insertion, [0] * 10 + [1], atol=0.01)
    np.testing.assert_allclose(deletion, [1] * 10 + [0], atol=0.01)


def test_pixels_of_an_empty_map_come_in_random_order():
    photo = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    def judge(pixels: np.ndarray) -> float:
        return (pixels == photo)[: SIDE // 4].mean()

    insertion, _ = fading_curves(judge, photo, EMPTY, np.random.default_rng(0))
    assert insertion[5] == pytest.approx(0.5, abs=0.05)


def test_centre_prior_peaks_where_faces_are():
    prior = centre_prior(100)
    line, column = np.unravel_index(prior.argmax(), prior.shape)
    assert (column / 100, line / 100) == pytest.approx(CENTRE, abs=0.02)
    assert prior.min() >= 0


def test_localisation_compares_maps_on_the_same_photos(tmp_path):
    photo = Photo(**vars(row(1, 0, 0, 0)), path=tmp_path)
    kinds = ["pair"] * 6 + ["box"]
    targets = [Target(photo, MASK, kind) for kind in kinds]
    maps = {
        "grad_cam": [PERFECT] * 4 + [spot(80, 80)] * 3,
        "centre": [spot(80, 80)] * 7,
        "other": [PERFECT] * 7,
    }
    called_fake = np.array([1, 1, 0, 0, 1, 0, 1], bool)
    figures = localisation(targets, maps, called_fake, "pair", samples=20)
    served = figures["grad_cam"]
    assert served["pointing"]["value"] == pytest.approx(4 / 6)
    assert served["pointing_called_fake"]["value"] == pytest.approx(2 / 3)
    assert served["lead_over_centre"]["value"] == pytest.approx(4 / 6)
    assert figures["other"]["iou"]["value"] == pytest.approx(1)
    assert figures["other"]["energy"]["value"] == pytest.approx(1)
    assert figures["centre"]["energy"]["value"] == 0
