"""The ways a saga can go, read off its definition: all goes well, or one thing goes wrong.

Pure: no Django, no Celery.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..definition import Saga, Step
from ..transitions import RunStatus


class Fault(StrEnum):
    """What goes wrong with an action."""

    REJECTED = "is rejected"  #: each time
    FAILS_ONCE = "fails once"  #: `Retryable`, before its effect
    LOSES_ANSWER = "loses its answer"  #: `OutcomeUnknown`, after its effect, the first time


@dataclass(frozen=True, kw_only=True)
class Path:
    """One way through a saga.

    Attributes:
        faults: what goes wrong, by step and kind of action (`run` or `undo`).
        ends: the status the run ends in, whatever crashes on the way.
    """

    name: str = "all succeeds"
    faults: tuple[tuple[str, str, Fault], ...] = ()
    ends: RunStatus = RunStatus.COMPLETED

    def __str__(self) -> str:
        return self.name


def paths(saga: Saga[Any], *, skipped: Collection[str] = ()) -> Iterator[Path]:
    """Yield each path of `saga`, the good one first.

    Args:
        skipped: names of the steps that the input leaves out.
    """
    turn = len(saga.steps) if saga.pivot_place is None else saga.pivot_place + 1
    before = [step for step in saga.steps[:turn] if step.name not in skipped]
    behind = [step for step in saga.steps[turn:] if step.name not in skipped]
    yield Path()
    for step in before:
        yield Path(
            name=f"{step.name} is rejected",
            faults=((step.name, "run", Fault.REJECTED),),
            ends=RunStatus.COMPENSATED,
        )
    for step in behind:
        yield _fails_once(step, ends=RunStatus.COMPLETED)
    for step in (*before, *behind):
        if step.outside:
            yield _loses_answer(step, may_go_back=step in before and step is not before[-1])
    if before:
        yield from _undo_fails(saga, before)


def _undo_fails(saga: Saga[Any], before: list[Step]) -> Iterator[Path]:
    """Yield what can go wrong on the way back from the last step that can be rejected."""
    rejected = (before[-1].name, "run", Fault.REJECTED)
    for step in before[:-1]:
        if step.undo is not None:
            yield Path(
                name=f"{step.undo_name} fails once",
                faults=(rejected, (step.name, "undo", Fault.FAILS_ONCE)),
                ends=RunStatus.COMPENSATED if step.undo_retry.attempts > 1 else RunStatus.NEEDS_ATTENTION,
            )
    for step in saga.undone:
        yield _fails_once(step, rejected, ends=RunStatus.COMPENSATED)


def _fails_once(step: Step, *faults: tuple[str, str, Fault], ends: RunStatus) -> Path:
    return Path(
        name=f"{step.name} fails once",
        faults=(*faults, (step.name, "run", Fault.FAILS_ONCE)),
        ends=ends if step.retry.attempts > 1 else RunStatus.NEEDS_ATTENTION,
    )


def _loses_answer(step: Step, *, may_go_back: bool) -> Path:
    given_up = RunStatus.COMPENSATED if may_go_back else RunStatus.NEEDS_ATTENTION
    return Path(
        name=f"{step.name} loses its answer",
        faults=((step.name, "run", Fault.LOSES_ANSWER),),
        ends=RunStatus.COMPLETED if step.retry.attempts > 1 else given_up,
    )
