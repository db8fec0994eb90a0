"""Operations on a run: retry or skip its step, undo or cancel it, pause and resume it."""

# ruff: noqa: ARG002 - not every operation needs all it is given

from abc import abstractmethod
from datetime import datetime
from typing import ClassVar, Protocol

from ..core.errors import FailureKind
from ..core.saga import Failure
from ..core.statuses import LIVE_RUNS, Action, RunStatus, StepStatus
from ..engine.rules import advance, is_to_undo, set_failure, stands_before_pivot
from ..models import Intervention, Run, StepRun
from .operation import Operation, unanswered_warning


class RunAtStep(Protocol):
    """What the operations need of `RunSubject`: a run, its current step, and what `save` has to do beside."""

    row: Run
    step: StepRun | None
    starts_undo: bool

    def wake(self, now: datetime) -> None: ...


class _OfRun(Operation[RunAtStep]):
    """An operation on an open run, at its current step."""

    def is_possible(self, subject: RunAtStep, *, now: datetime) -> bool:
        run, step = subject.row, subject.step
        return run.finished_at is None and step is not None and self.fits(run, step, now)

    def apply(self, subject: RunAtStep, asked: Intervention, *, now: datetime) -> None:
        if subject.step is not None:
            self.change(subject, subject.step, asked, now)

    @abstractmethod
    def fits(self, run: Run, step: StepRun, now: datetime) -> bool: ...

    @abstractmethod
    def change(self, subject: RunAtStep, step: StepRun, asked: Intervention, now: datetime) -> None: ...


class RetryStep(_OfRun):
    action = Action.RETRY
    description = "Try again what failed, with all its tries."
    done = "is tried again"
    of_step = True

    def fits(self, run: Run, step: StepRun, now: datetime) -> bool:
        return run.status == RunStatus.NEEDS_ATTENTION or _waits_for_its_try(run, step, now)

    def change(self, subject: RunAtStep, step: StepRun, asked: Intervention, now: datetime) -> None:
        # A call without an answer keeps that status: the next try probes first.
        step.status = StepStatus.PENDING if step.status == StepStatus.FAILED else step.status
        step.attempts, step.lost_tries, step.held_until, step.finished_at = 0, 0, None, None
        subject.row.attention = None
        subject.wake(now)


class SkipStep(_OfRun):
    action = Action.SKIP
    description = "Take the step as done, for it was done by hand; later steps get the result given here."
    done = "is taken as done"
    of_step = True
    wants_result = True

    def warning(self, unanswered: int) -> str:
        return unanswered_warning(unanswered)

    def fits(self, run: Run, step: StepRun, now: datetime) -> bool:
        if is_to_undo(run):
            return False
        if run.status == RunStatus.NEEDS_ATTENTION:
            return True
        is_idle = step.status in (StepStatus.PENDING, StepStatus.UNKNOWN, StepStatus.FAILED)
        return is_idle and (run.status == RunStatus.PAUSED or _waits_for_its_try(run, step, now))

    def change(self, subject: RunAtStep, step: StepRun, asked: Intervention, now: datetime) -> None:
        run = subject.row
        run.epoch += 1
        run.attention = None
        if run.direction == RunStatus.RUNNING:
            run.failure = None  # given up while the run was paused: its undo has not begun
        if run.status != RunStatus.PAUSED:
            subject.wake(now)
        step.started_at = step.started_at or now
        advance(run, step, asked.result, now=now)


class _StartUndo(_OfRun):
    #: The failure that the steps after the undo get.
    failure_kind: ClassVar[FailureKind]
    error: ClassVar[str]

    def fits(self, run: Run, step: StepRun, now: datetime) -> bool:
        return run.direction == RunStatus.RUNNING and run.failure is None and stands_before_pivot(run, step)

    def change(self, subject: RunAtStep, step: StepRun, asked: Intervention, now: datetime) -> None:
        subject.wake(now)
        subject.row.attention = None
        failure = Failure(step="", kind=self.failure_kind, error=self.error, message=asked.reason)
        set_failure(subject.row, failure)
        subject.starts_undo = True


class UndoRun(_StartUndo):
    action = Action.UNDO
    description = "Undo what was done so far."
    done = "is being undone"
    failure_kind = FailureKind.UNDONE
    error = "Undone"


class CancelRun(_StartUndo):
    action = Action.CANCEL
    description = "Cancel it, and undo what was done so far."
    done = "is being cancelled"
    failure_kind = FailureKind.CANCELLED
    error = "Cancelled"


class PauseRun(_OfRun):
    action = Action.PAUSE
    description = "Begin no further step until it is resumed; the deadline waits too."
    done = "is paused"

    def fits(self, run: Run, step: StepRun, now: datetime) -> bool:
        return run.status in LIVE_RUNS and not is_to_undo(run) and run.attention is None

    def change(self, subject: RunAtStep, step: StepRun, asked: Intervention, now: datetime) -> None:
        run = subject.row
        run.resumes_as, run.stopped_at, run.status = run.status, now, RunStatus.PAUSED


class ResumeRun(_OfRun):
    action = Action.RESUME
    description = "Go on where it was paused."
    done = "goes on"

    def fits(self, run: Run, step: StepRun, now: datetime) -> bool:
        return run.status == RunStatus.PAUSED

    def change(self, subject: RunAtStep, step: StepRun, asked: Intervention, now: datetime) -> None:
        subject.wake(now)
        if step.held_until is not None and step.held_until > now:
            subject.row.due_at = step.held_until  # a call is still under way, or a try not yet due


def _waits_for_its_try(run: Run, step: StepRun, now: datetime) -> bool:
    waits = step.held_until is not None and step.held_until > now and step.lease_token is None
    return run.status in LIVE_RUNS and waits


OPERATIONS = (RetryStep(), SkipStep(), UndoRun(), CancelRun(), PauseRun(), ResumeRun())
