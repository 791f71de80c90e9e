import time

from training.timing import WARM_UP, time_in_turn


def test_calls_take_turns():
    order = []
    times = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], runs=5)
    assert order == ["a", "b"] * (WARM_UP + 5)
    assert len(times) == 2


def test_medians_are_milliseconds():
    fast, slow = time_in_turn([lambda: None, lambda: time.sleep(0.02)], runs=5)
    assert fast < slow
    assert slow >= 20
