"""Compare the speed of functions on a machine that does other things as well."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

WARM_UP = 3


def time_in_turn(calls: list[Callable[[], object]], runs: int = 50) -> list[float]:
    """Return the median time of each function in ms.

    They take turns, so that a slow moment of the machine strikes all of them.

    Args:
        calls: functions without arguments.
        runs: how often each is timed, after three calls that are not.
    """
    times: list[list[float]] = [[] for _ in calls]
    for run in range(WARM_UP + runs):
        for call, of_call in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if run >= WARM_UP:
                of_call.append(time.perf_counter() - start)
    return [statistics.median(of_call) * 1000 for of_call in times]
