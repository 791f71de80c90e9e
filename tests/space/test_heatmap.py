import numpy as np
import pytest

from space.heatmap import USUAL_LANDMARKS, describe_parts, heat_by_part, heat_layer


def spot(x: float, y: float) -> np.ndarray:
    """Return a heatmap that is hot in one place, given as shares of its side."""
    middle = (np.arange(7) + 0.5) / 7
    squared_distance = (middle[None] - x) ** 2 + (middle[:, None] - y) ** 2
    return np.exp(-squared_distance / 0.004).astype(np.float32)


def test_cold_places_are_transparent_and_hot_ones_are_not():
    layer = np.asarray(heat_layer(spot(0.07, 0.07), 140))
    assert layer.shape == (140, 140, 4)
    assert layer[:8, :8, 3].min() > 200
    assert layer[70:, 70:, 3].max() == 0


def test_what_is_not_painted_is_not_counted():
    lukewarm = np.full((7, 7), 0.4, np.float32)
    lukewarm[0, 0] = 1  # a corner of the background
    assert np.asarray(heat_layer(lukewarm, 140))[60:, 60:, 3].max() == 0
    shares = heat_by_part(lukewarm, None)
    assert shares["the background and hair"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("landmark", "name"),
    [(0, "the eye on the left"), (1, "the eye on the right"), (2, "the nose")],
)
def test_heat_on_a_landmark_is_on_its_part(landmark, name):
    shares = heat_by_part(spot(*USUAL_LANDMARKS[landmark]), None)
    assert next(iter(shares)) == name
    assert sum(shares.values()) == pytest.approx(1)


def test_heat_between_the_mouth_corners_is_on_the_mouth():
    shares = heat_by_part(spot(*USUAL_LANDMARKS[3:].mean(axis=0)), None)
    assert describe_parts(shares) == "Most of the evidence for fake lies on the mouth."


def test_parts_follow_the_landmarks():
    moved = (USUAL_LANDMARKS - 0.5) * 0.9 + [0.62, 0.62]
    eye = spot(*moved[0])
    assert next(iter(heat_by_part(eye, moved))) == "the eye on the left"
    assert "eye" not in next(iter(heat_by_part(eye, None)))


def test_words_follow_the_shares():
    even = {"the nose": 0.2, "the mouth": 0.2, "the chin": 0.15, "the cheeks": 0.45 / 3}
    assert describe_parts(even).startswith("The evidence for fake is spread out over")
    two = {"the nose": 0.45, "the mouth": 0.4, "the chin": 0.15}
    assert describe_parts(two) == "Most of the evidence for fake lies on the nose and the mouth."
    nothing = heat_by_part(np.zeros((7, 7), np.float32), None)
    assert describe_parts(nothing) == ""
