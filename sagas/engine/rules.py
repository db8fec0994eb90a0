"""What a try does to its run: decided on rows in memory, saved by whoever holds them.

One place for the rules, whoever walks them: the engine under locks, a person's intervention, a test without database.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from ..core.errors import FailureKind, Retryable, kind_of
from ..core.retry import Retry
from ..core.saga import Failure, Result, Step
from ..core.statuses import RunStatus, StepStatus
from ..db.storable import message_of
from ..models import Run, StepRun
from .limits import looked_after_at, resend_after
from .plan import MAX_LOST_TRIES


@dataclass(frozen=True, kw_only=True)
class FailedTry:
    """What a failed try means: its kind, and when the next one is due; None if that was the last."""

    kind: FailureKind
    retry_at: datetime | None


DEADLINE_PASSED = Failure(
    step="", kind=FailureKind.REJECTED, error="DeadlinePassed", message="It could not be done in time."
)


def policy_of(step: Step, row: StepRun) -> Retry:
    return step.undo_retry if row.action == StepRun.Action.UNDO else step.retry


def goes_back(run: Run) -> bool:
    """Say whether a run is being undone, also while it is paused or waits for a person."""
    return run.direction == RunStatus.UNDOING


def stands_before_pivot(run: Run, row: StepRun) -> bool:
    """Say whether a run at `row` can still be undone, by its own plan, not by today's.

    At the pivot it can as long as the pivot has not taken effect and cannot have.
    """
    pivot = run.pivot_place
    if goes_back(run):
        return False
    if pivot is None or row.place < pivot:
        return True
    return row.place == pivot and row.status in (StepStatus.PENDING, StepStatus.FAILED)


def advance(run: Run, row: StepRun, result: Result, *, now: datetime) -> None:
    """Note that a step is done and move its run to the next; end a run that has none.

    A paused run stays paused at its next step; it ends if that was the last.
    """
    row.status, row.finished_at = StepStatus.DONE, now
    row.lease_token = row.held_until = None
    if result is not None:
        run.results[row.name] = result
    run.resends = 0
    if row.next_place is not None:
        run.place, run.due_at = row.next_place, looked_after_at(run.due_at, now=now)
        return
    run.status = RunStatus.UNDONE if goes_back(run) else RunStatus.COMPLETED
    run.resumes_as, run.stopped_at = "", None
    run.due_at, run.deadline_at, run.finished_at = None, None, now


def set_failure(run: Run, failure: Failure) -> None:
    """Note why a run is to turn back."""
    run.failure = asdict(failure)


def turn(run: Run, undo: Sequence[StepRun], *, now: datetime) -> None:
    """Send a run back along its undo; where there is nothing to undo, it is over.

    The new epoch makes every message that is still under way harmless.
    """
    run.epoch += 1
    run.resends = 0
    if undo:
        run.status, run.place, run.due_at = RunStatus.UNDOING, undo[0].place, now + resend_after(0)
    else:
        run.status, run.due_at, run.deadline_at, run.finished_at = RunStatus.UNDONE, None, None, now


def fail(run: Run, row: StepRun, step: Step, error: Exception, *, asked_first: bool, now: datetime) -> FailedTry:
    """Note that a try failed: when the next one is due, or that there is none and why.

    Args:
        asked_first: an earlier call may have taken effect, and nobody has said yes or no since.
    """
    policy = policy_of(step, row)
    kind = kind_of(error, outside=step.outside)
    asked_seconds = error.retry_after_seconds if isinstance(error, Retryable) else None
    again = kind is not FailureKind.REJECTED and row.lost_tries <= MAX_LOST_TRIES and policy.allows(row.attempts)
    retry_at = now + policy.pause(row.attempts, asked_seconds=asked_seconds) if again else None
    # Once unknown, it stays so until the provider says no or yes: a later "busy" says nothing of the first call.
    if kind is FailureKind.UNKNOWN or (asked_first and kind is not FailureKind.REJECTED):
        row.status = StepStatus.UNKNOWN
    else:
        row.status = StepStatus.PENDING if again else StepStatus.FAILED
    row.lease_token, row.held_until, row.lost_tries = None, retry_at, 0
    run.resends = 0
    run.due_at = retry_at or now + resend_after(0)
    if not again:
        row.finished_at = now
        failure = asdict(Failure(step=row.name, kind=kind, error=type(error).__name__, message=message_of(error)))
        if stands_before_pivot(run, row):
            run.failure = failure
        else:
            run.attention = failure
    return FailedTry(kind=kind, retry_at=retry_at)
