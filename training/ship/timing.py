"""Compare the speed of functions on a machine that is not idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

WARM_UP = 3


def time_in_turn(calls: Sequence[Callable[[], object]], runs: int = 50) -> list[float]:
    """Return the median time of each function in ms.

    They take turns, so that a slow moment of the machine affects all of them.

    Args:
        calls: functions without arguments.
        runs: timed calls of each, after three calls that are not timed.
    """
    spreads = spread_in_turn(dict(enumerate(calls)), runs)
    return [spread["median"] for spread in spreads.values()]


def spread_in_turn(
    calls: Mapping[object, Callable[[], object]], runs: int = 50
) -> dict[object, dict[str, float]]:
    """Return the `median` time of each function in ms, and the quartiles `low` and `high`.

    The arguments are those of `time_in_turn`.
    """
    times: dict[object, list[float]] = {name: [] for name in calls}
    for run in range(WARM_UP + runs):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if run >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - start))
    quartiles = {
        name: np.percentile(durations, (25, 50, 75)).tolist() for name, durations in times.items()
    }
    return {
        name: dict(zip(("low", "median", "high"), values, strict=True))
        for name, values in quartiles.items()
    }
