"""The speed and steadiness of the machine: the same computation repeatedly, without waiting.

It shows whether another tenant takes the cores: variation here affects all contenders.
"""

import time

from .results import Measured, p50_and_p99

#: About as often as orders are asked for, and about as long as a step of one.
_TIMES, ADDITIONS, _REST_SECONDS = 300, 50_000, 0.01


def measure() -> list[Measured]:
    return [Measured(what="machine", who="loop", figures=p50_and_p99([_seconds() for _ in range(_TIMES)], "took"))]


def _seconds() -> float:
    time.sleep(_REST_SECONDS)
    began, total = time.perf_counter(), 0
    for number in range(ADDITIONS):
        total += number
    return time.perf_counter() - began
