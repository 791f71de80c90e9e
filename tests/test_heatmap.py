import numpy as np
from PIL import Image

from space.heatmap import paint_heatmap
from tests.drawing import draw_face


def test_a_cold_map_leaves_the_photo_as_it_is():
    face = draw_face(1)
    assert np.array_equal(paint_heatmap(face, np.zeros((7, 7), np.float32)), face)


def test_only_the_hot_corner_is_painted():
    face = draw_face(1, 140)
    heat = np.zeros((7, 7), np.float32)
    heat[0, 0] = 1
    painted = np.asarray(paint_heatmap(face, heat), int)
    change = np.abs(painted - np.asarray(face, int)).sum(axis=-1)
    assert change[:20, :20].mean() > 60
    assert change[70:, 70:].max() == 0


def test_a_large_photo_is_shrunk_to_what_a_page_shows():
    painted = paint_heatmap(Image.new("RGB", (3000, 2000)), np.ones((7, 7), np.float32))
    assert painted.size == (768, 768)
