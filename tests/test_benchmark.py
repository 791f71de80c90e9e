import numpy as np

from tests.drawing import draw_face
from training.benchmark import time_page_start


def test_page_is_timed_until_it_answers():
    assert time_page_start(np.asarray(draw_face(1, 224))) > 0
