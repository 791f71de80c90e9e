import numpy as np

from tests.drawing import draw_face
from training.benchmark import RUNS, time_in_turn, time_page_start


def test_calls_take_turns():
    order = []
    times = time_in_turn(lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b"] * (RUNS + 3)
    assert len(times) == 2
    assert min(times) > 0


def test_page_is_timed_until_it_answers():
    assert time_page_start(np.asarray(draw_face(1, 224))) > 0
