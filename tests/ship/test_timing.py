from training.ship import timing
from training.ship.timing import WARM_UP, time_in_turn


def test_calls_take_turns():
    order = []
    times = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], runs=5)
    assert order == ["a", "b"] * (WARM_UP + 5)
    assert len(times) == 2


def test_medians_are_milliseconds_without_the_first_calls(monkeypatch):
    clock = [0.0]
    durations = iter([9.0] * WARM_UP + [0.001, 0.002, 0.5])

    def work() -> None:
        clock[0] += next(durations)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    [median] = time_in_turn([work], runs=3)
    assert round(median, 6) == 2
