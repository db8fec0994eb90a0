"""For tests of sagas: relay, workers, broker and sweep in one process, with a clock that the test sets.

`drive` does all work that is due. `Broker` delivers messages one by one, in any order, twice or never. `crash_matrix`
stops a saga at every boundary and checks the outcome. See docs/testing.md.
"""

from .broker import (
    Broker,
    ChainMessage,
    DeliveryMessage,
    ErrorMessage,
    Killed,
    Message,
    drive,
    run_chain,
    run_delivery,
)
from .cases import Case, Variant
from .clock import Clock, MovableClock
from .crash_matrix import CrashMatrixFailed, Summary, crash_cases, crash_matrix
from .paths import Path, paths
from .scenario import Ending, Scenario

__all__ = [
    "Broker",
    "Case",
    "ChainMessage",
    "Clock",
    "CrashMatrixFailed",
    "DeliveryMessage",
    "Ending",
    "ErrorMessage",
    "Killed",
    "Message",
    "MovableClock",
    "Path",
    "Scenario",
    "Summary",
    "Variant",
    "crash_cases",
    "crash_matrix",
    "drive",
    "paths",
    "run_chain",
    "run_delivery",
]
