"""The paths of a saga, computed from its definition: without a fault, or with one fault.

Pure: no Django, no Celery.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..core.saga import Pivot, Saga, Step
from ..core.statuses import RunStatus


class Fault(StrEnum):
    """A fault of an action."""

    REJECTED = "is rejected"  #: each time
    FAILS_ONCE = "fails once"  #: `Retryable`, before its effect
    LOSES_ANSWER = "loses its answer"  #: `OutcomeUnknown`, after its effect, the first time


@dataclass(frozen=True, kw_only=True)
class Path:
    """One path through a saga.

    Attributes:
        faults: the faults, by step and kind of action (`run` or `undo`).
        ends: the final status of the run, whatever crashes.
    """

    name: str = "all succeeds"
    faults: tuple[tuple[str, str, Fault], ...] = ()
    ends: RunStatus = RunStatus.COMPLETED

    def __str__(self) -> str:
        return self.name


def paths(saga: Saga[Any], *, skipped: Collection[str] = ()) -> Iterator[Path]:
    """Yield each path of `saga`, the one without faults first.

    Failures that only lead to another try share one path, which has the boundaries of all.

    Args:
        skipped: names of the steps that the input skips.
    """
    steps = [step for step in saga.steps if step.name not in skipped]
    pivot = next((place for place, step in enumerate(steps) if isinstance(step, Pivot)), len(steps) - 1)
    yield Path()
    for step in steps[: pivot + 1]:
        yield Path(name=f"{step.name} is rejected", faults=(_rejected(step),), ends=RunStatus.UNDONE)
    for place, step in enumerate(steps):
        if step.outside:
            yield _loses_answer(step, may_go_back=place < pivot)
    yield Path(name="each step fails once", faults=tuple(_once(step, "run") for step in steps if step.retry.allows(1)))
    undone = [_once(step, "undo") for step in steps[:pivot] if step.undo is not None and step.undo_retry.allows(1)]
    undone += [_once(step, "run") for step in saga.after_undo if step.retry.allows(1)]
    if steps and undone:
        yield Path(name="each undo fails once", faults=(_rejected(steps[pivot]), *undone), ends=RunStatus.UNDONE)


def _rejected(step: Step) -> tuple[str, str, Fault]:
    return step.name, "run", Fault.REJECTED


def _once(step: Step, kind: str) -> tuple[str, str, Fault]:
    return step.name, kind, Fault.FAILS_ONCE


def _loses_answer(step: Step, *, may_go_back: bool) -> Path:
    given_up = RunStatus.UNDONE if may_go_back else RunStatus.NEEDS_ATTENTION
    return Path(
        name=f"{step.name} loses its answer",
        faults=((step.name, "run", Fault.LOSES_ANSWER),),
        ends=RunStatus.COMPLETED if step.retry.allows(1) else given_up,
    )
