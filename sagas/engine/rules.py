"""The effect of a try on its run: decided on rows in memory. The caller has locked the rows, and saves them.

The engine, interventions and the test kit use the same rules.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from ..core.errors import FailureKind
from ..core.retry import Retry
from ..core.saga import Failure, Result, Step
from ..core.statuses import MAY_HAVE_EFFECT, RowAction, RunStatus, StepStatus
from ..db.storable import message_of
from ..models import Run, StepRun
from .claim import Verdict
from .limits import next_sweep_at, resend_after

DEADLINE_PASSED = Failure(
    step="", kind=FailureKind.REJECTED, error="DeadlinePassed", message="It could not be done in time."
)


def policy_of(step: Step, row: StepRun) -> Retry:
    return step.undo_retry if row.action == RowAction.UNDO else step.retry


def goes_back(run: Run) -> bool:
    """Say whether a run is being undone, also while it is paused or waits for a person."""
    return run.direction == RunStatus.UNDOING


def stands_before_pivot(run: Run, row: StepRun) -> bool:
    """Say whether a run at `row` can still be undone, by its own plan, not by the current definition.

    At the pivot it can, as long as the pivot certainly has had no effect.
    """
    pivot = run.pivot_place
    if goes_back(run):
        return False
    if pivot is None or row.place < pivot:
        return True
    return row.place == pivot and row.status in (StepStatus.PENDING, StepStatus.FAILED)


def advance(run: Run, row: StepRun, result: Result, *, now: datetime) -> None:
    """Set a step as done and move its run to the next one; end a run that has none.

    A paused run stays paused at its next step; it ends if that was the last.
    """
    row.status, row.finished_at = StepStatus.DONE, now
    row.lease_token = row.held_until = None
    if result is not None:
        run.results[row.name] = result
    run.resends = 0
    if row.next_place is not None:
        run.place, run.due_at = row.next_place, next_sweep_at(run.due_at, now=now)
        return
    if goes_back(run):
        run.status = RunStatus.UNDONE
    else:
        # Its deadline may have passed during this last step.
        run.status, run.failure = RunStatus.COMPLETED, None
    run.resumes_as, run.stopped_at = "", None
    run.due_at, run.deadline_at, run.finished_at = None, None, now


def set_failure(run: Run, failure: Failure) -> None:
    """Set why a run is to be undone; `start_undo` undoes it."""
    run.failure = asdict(failure)


def is_to_undo(run: Run) -> bool:
    """Say whether a step of the run was given up, or its deadline has passed, and its undo has not begun."""
    return run.failure is not None and run.status == RunStatus.RUNNING


def expire(run: Run, row: StepRun, *, now: datetime) -> bool:
    """Take the deadline off a run; say whether the run is to be undone for it.

    At or behind its pivot a run only goes forward: the deadline no longer counts.

    Args:
        row: the row at the run's place.
    """
    run.deadline_at = None
    if run.failure is not None or not stands_before_pivot(run, row):
        return False
    set_failure(run, DEADLINE_PASSED)
    run.due_at = now
    return True


def begin_undo(run: Run, rows: Sequence[StepRun], undo: Sequence[StepRun], *, now: datetime) -> None:
    """Start the undo of a run; a run with nothing to undo ends.

    Steps that were not begun are skipped; those that took effect or may have become undoing. With the new epoch every
    message that is still under way does nothing.

    Args:
        rows: the plan of the run.
        undo: the rows of its undo, as `plan.plan_undo` returns them.
    """
    for row in rows:
        if row.status == StepStatus.PENDING:
            row.status = StepStatus.SKIPPED
        elif row.status in MAY_HAVE_EFFECT:
            row.status, row.lease_token, row.held_until = StepStatus.UNDOING, None, None
    run.epoch += 1
    run.resends = 0
    if undo:
        run.status, run.place, run.due_at = RunStatus.UNDOING, undo[0].place, now + resend_after(0)
    else:
        run.status, run.due_at, run.deadline_at, run.finished_at = RunStatus.UNDONE, None, None, now


def undone_by(row: StepRun, rows: Iterable[StepRun]) -> list[StepRun]:
    """Mark the step that `row` undoes as undone, and return it; an empty list if `row` is no undo.

    Args:
        rows: the plan of the run.
    """
    if row.action != RowAction.UNDO:
        return []
    effects = [other for other in rows if other.step == row.step and other.action == RowAction.RUN]
    for effect in effects:
        effect.status = StepStatus.UNDONE
    return effects


def fail(run: Run, row: StepRun, error: Exception, verdict: Verdict, *, asked_first: bool, now: datetime) -> None:
    """Set that a try failed.

    With a next try (`verdict.retry_at`) the step waits for it. Without one it is given up: before the pivot the run
    gets a `failure` and is to be undone; behind it the run gets an `attention` and waits for a person.

    Args:
        asked_first: an earlier call may have taken effect, and the probe has not answered since.
    """
    # Unknown stays unknown until the probe answers: a later "busy" does not answer for the first call.
    if verdict.kind is FailureKind.UNKNOWN or (asked_first and verdict.kind is not FailureKind.REJECTED):
        row.status = StepStatus.UNKNOWN
    else:
        row.status = StepStatus.FAILED if verdict.is_given_up else StepStatus.PENDING
    row.lease_token, row.held_until, row.lost_tries = None, verdict.retry_at, 0
    run.resends = 0
    run.due_at = verdict.retry_at or now + resend_after(0)
    if verdict.is_given_up:
        row.finished_at = now
        failure = Failure(step=row.name, kind=verdict.kind, error=type(error).__name__, message=message_of(error))
        if stands_before_pivot(run, row):
            set_failure(run, failure)
        else:
            run.attention = asdict(failure)
