"""The engine: takes runs one step on and journals what came of it.

Knows rows, not messages. Every function takes lists of runs, claims what nobody else holds, and is harmless when
called twice or late: what is not at the expected place and epoch is left alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import F

from . import registry
from .attempts import check_constraints, failed_try, message_of, storable_result
from .definition import Action, Call, Failure, Result, Saga, Step
from .errors import (
    DefinitionError,
    Kind,
    OutcomeUnknown,
    Rejected,
    Retryable,
    StepFailed,
    TransactionRefusedError,
    UnknownSagaError,
    WorkerLostError,
    kind_of,
)
from .events import Cause, caused_by
from .ids import new_id
from .models import Run, StepRun
from .plans import MOST_LOST, WakeUp, lease_of, resend_after, wake_ups_of
from .retry import Retry
from .transitions import LIVE_RUNS, RunStatus, StepStatus

logger = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one message.

    Attributes:
        carries_on: some run stands further on, so the rest of the chain has work.
        alone: runs that failed inside a batch, to be sent on their own (rule 8).
        failed: set for a run sent alone whose step gave up; raise it, so that the error callback runs.
    """

    carries_on: bool = False
    alone: list[WakeUp] = field(default_factory=list)
    failed: StepFailed | None = None


@dataclass
class _Claim:
    """A run and its current step, locked by this transaction or held by a lease token."""

    run: Run
    row: StepRun
    saga: Saga[Any]
    step: Step
    #: An earlier call may have taken effect: ask before calling.
    asks_first: bool = False
    #: There are tries left.
    may_call: bool = True
    result: Result = None

    @property
    def stopped(self) -> bool:
        """The run gave up and waits to be turned back or handed over."""
        return bool(self.run.failure and self.run.status == RunStatus.RUNNING) or self.run.attention is not None

    @property
    def retry(self) -> Retry:
        return self.step.undo_retry if self.row.action == StepRun.Action.UNDO else self.step.retry

    @property
    def action(self) -> Action:
        action = self.step.undo if self.row.action == StepRun.Action.UNDO else self.step.run
        assert action is not None  # noqa: S101 - an undo row is only planned for a step with an undo
        return action

    @property
    def cause(self) -> Cause:
        return Cause(
            correlation_id=self.run.correlation_id, causation_id=self.run.event_id, traceparent=self.run.traceparent
        )

    def call(self, now: datetime) -> Call[Any]:
        return Call(
            run_id=self.run.id,
            key=self.run.key,
            step=self.row.step,
            idempotency_key=self.row.idempotency_key,
            input=self.saga.input.read(self.run.input),
            results=self.run.results,
            attempt=self.row.attempts,
            now=now,
            failure=None if self.run.failure is None else Failure(**self.run.failure),
        )

    def take(self, result: Result) -> None:
        """Keep what the step handed on, as it will be read back from the journal."""
        self.result = None if result is None else storable_result(result)

    def still_holds(self) -> bool:
        """Lock the rows again, run first as everybody does, and say whether this lease is the current one."""
        run = Run.objects.select_for_update().filter(pk=self.run.pk, epoch=self.run.epoch).first()
        row = StepRun.objects.filter(pk=self.row.pk, lease_token=self.row.lease_token).first()
        if run is None or row is None:
            return False
        self.run, self.row = run, row
        return True

    def step_failed(self) -> StepFailed:
        failure = self.run.attention or self.run.failure or {}
        return StepFailed(str(self.run.id), self.row.name, f"{failure['error']}: {failure['message']}")


def execute(*, run_ids: Sequence[UUID], place: int, epoch: int, clock: Clock, redelivered: bool = False) -> Outcome:
    """Take the step at `place` for those of `run_ids` that stand there in `epoch`.

    Transaction: refuses one; opens its own. Inside steps share one transaction, each in a savepoint; an outside
    step is claimed in one, called in none, and settled in another.
    Idempotent: by run, epoch and place.

    Args:
        redelivered: the broker gave this message out before; the worker that had it may have died of it.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("the engine commits its own transactions")
    alone = len(run_ids) == 1
    claims, done, left = _take(run_ids, place, epoch, clock, redelivered=redelivered)
    carries_on = bool(done)
    stopped = [claim for claim in claims if claim.stopped]
    for claim in claims:
        if claim in stopped or not claim.step.outside:
            continue
        if alone:
            carries_on = _run_outside(claim, clock)
            stopped = [claim] if claim.stopped else []
        else:
            # One after the other, each with a lease of its own: a slow answer must not use up its neighbours' time.
            outcome = execute(run_ids=[claim.run.id], place=place, epoch=epoch, clock=clock)
            carries_on = carries_on or outcome.carries_on
            stopped += [claim] if outcome.failed else []
    if alone and stopped:
        return Outcome(failed=stopped[0].step_failed())
    return Outcome(
        carries_on=carries_on or (redelivered and not claims and _is_further_on(run_ids, place, epoch)),
        alone=wake_ups_of([claim.run for claim in (*left, *stopped)], size=1),
    )


def _take(
    run_ids: Sequence[UUID], place: int, epoch: int, clock: Clock, *, redelivered: bool
) -> tuple[list[_Claim], list[_Claim], list[_Claim]]:
    """Claim what stands there and do what can be done inside; return all claims, those done, those to be sent alone.

    The outside step of a run that was sent alone is leased; those of a batch are left, to be executed one by one.
    """
    alone, counted = len(run_ids) == 1, False
    while True:
        with transaction.atomic():
            claims = _claim(run_ids, place, epoch, clock())
            doubtful = [] if counted else [claim.row.pk for claim in claims if redelivered or claim.run.resent]
            if not doubtful:
                ready = [claim for claim in claims if not claim.stopped]
                if alone:
                    _lease([claim for claim in ready if claim.step.outside], clock())
                return (claims, *_take_inside([claim for claim in ready if not claim.step.outside], clock, alone=alone))
            # Counted in a commit of its own, before the effect: what kills its worker must not come round for ever.
            StepRun.objects.filter(pk__in=doubtful).update(lost=F("lost") + 1)
        counted = True


def _take_inside(claims: Sequence[_Claim], clock: Clock, *, alone: bool) -> tuple[list[_Claim], list[_Claim]]:
    done, left = [], []
    for claim in claims:
        started_at = clock()
        error = _run_inside(claim, started_at)
        if error is None:
            done.append(claim)
        elif alone:
            _fail(claim, error, started_at=started_at, now=clock())
        else:
            left.append(claim)
    _advance(done, clock())
    return done, left


def _claim(run_ids: Sequence[UUID], place: int, epoch: int, now: datetime) -> list[_Claim]:
    rows = (
        StepRun.objects.select_related("run")
        .filter(run_id__in=run_ids, place=place, run__place=place, run__epoch=epoch, run__status__in=LIVE_RUNS)
        .exclude(held_until__gt=now)
        .order_by("run_id")
        .select_for_update(skip_locked=True, of=("self", "run"))
    )
    claims = []
    for row in rows:
        try:
            saga = registry.saga(row.run.saga)
            claims.append(_Claim(run=row.run, row=row, saga=saga, step=saga.step(row.step)))
        except (UnknownSagaError, DefinitionError) as error:
            # Other code planned it; a worker that has that code takes it (rolling deploy).
            logger.warning("run_of_other_code", run_id=str(row.run_id), error=str(error))
    return claims


def _is_further_on(run_ids: Sequence[UUID], place: int, epoch: int) -> bool:
    """Say whether a redelivered message should let its chain go on: who had it may have died after the commit.

    A copy that the sweep sent ends here instead: whoever took the step carries on. Otherwise a backlog older than
    `SAGAS_RESEND_AFTER_SECONDS` would grow by a whole chain with each copy.
    """
    return Run.objects.filter(id__in=run_ids, epoch=epoch, place__gt=place, status__in=LIVE_RUNS).exists()


def _run_inside(claim: _Claim, now: datetime) -> Exception | None:
    """Run the step in a savepoint; return what it raised, with its effect rolled back."""
    row = claim.row
    row.started_at = row.started_at or now
    row.attempts += 1
    if row.lost > MOST_LOST:
        return WorkerLostError(row.lost)
    try:
        with caused_by(claim.cause), transaction.atomic():
            claim.take(claim.action(claim.call(now)))
            check_constraints()
    except Exception as error:  # noqa: BLE001 - the engine isolates steps
        return error
    return None


def _lease(claims: Sequence[_Claim], now: datetime) -> None:
    """Note that outside calls are about to be made: see Note [Lease token] in models.py."""
    for claim in claims:
        row, run = claim.row, claim.run
        forward = row.action == StepRun.Action.RUN
        claim.asks_first = forward and row.status in (StepStatus.UNKNOWN, StepStatus.RUNNING)
        claim.may_call = claim.retry.allows(row.attempts)
        row.attempts += 1
        row.status = StepStatus.RUNNING
        row.started_at = row.started_at or now
        row.lease_token = new_id()
        row.held_until = run.due_at = now + lease_of(claim.step)
    _save(claims)


def _run_outside(claim: _Claim, clock: Clock) -> bool:
    """Make the call in no transaction and settle it in one; say whether it succeeded."""
    started_at = clock()
    error: Exception | None = None
    try:
        with caused_by(claim.cause):
            claim.take(_ask_then_call(claim, started_at))
    except Exception as raised:  # noqa: BLE001 - the engine isolates steps
        error = raised
    with transaction.atomic():
        if not claim.still_holds():
            logger.warning("lease_lost", run_id=str(claim.run.id), step=claim.row.name)
            return False
        if error is None:
            _advance([claim], clock())
        else:
            _fail(claim, error, started_at=started_at, now=clock())
    return error is None


def _ask_then_call(claim: _Claim, now: datetime) -> Result:
    call = claim.call(now)
    if claim.row.lost > MOST_LOST:
        raise WorkerLostError(claim.row.lost)
    if claim.asks_first and claim.step.probe is not None:
        try:
            found = claim.step.probe(call)
        except Rejected:
            raise
        except Exception as error:
            raise OutcomeUnknown(f"no answer to the question whether it took effect: {error}") from error
        if found is not None:
            return found
    if not claim.may_call:
        raise WorkerLostError(claim.row.lost)
    return claim.action(call)


def _advance(claims: Sequence[_Claim], now: datetime) -> None:
    """Journal that steps are done and move their runs to the next; end the runs that have none."""
    for claim in claims:
        row, run = claim.row, claim.run
        row.status, row.finished_at = StepStatus.DONE, now
        row.lease_token = row.held_until = None
        if claim.result is not None:
            run.results[row.name] = claim.result
        run.resent = 0
        if row.next_place is not None:
            run.place, run.due_at = row.next_place, now + resend_after(0)
        else:
            back = run.status == RunStatus.COMPENSATING
            run.status = RunStatus.COMPENSATED if back else RunStatus.COMPLETED
            run.due_at, run.finished_at = None, now
    _save(claims)
    undone = [claim.row for claim in claims if claim.row.action == StepRun.Action.UNDO]
    if undone:
        StepRun.objects.filter(
            run__in=[row.run_id for row in undone], step=undone[0].step, action=StepRun.Action.RUN
        ).update(status=StepStatus.UNDONE)


def _fail(claim: _Claim, error: Exception, *, started_at: datetime, now: datetime) -> None:
    """Journal a failed try: when the next is due, or that there is none and why."""
    row, run = claim.row, claim.run
    kind = kind_of(error, outside=claim.step.outside)
    asked_seconds = error.retry_after_seconds if isinstance(error, Retryable) else None
    again = kind is not Kind.REJECTED and row.lost <= MOST_LOST and claim.retry.allows(row.attempts)
    retry_at = now + claim.retry.pause(row.attempts, asked_seconds=asked_seconds) if again else None
    failed_try(error, of=row, kind=kind, started_at=started_at, failed_at=now, retry_at=retry_at)
    # Once unknown, it stays so until the provider says no or yes: a later "busy" says nothing of the first call.
    if kind is Kind.UNKNOWN or (claim.asks_first and kind is not Kind.REJECTED):
        row.status = StepStatus.UNKNOWN
    else:
        row.status = StepStatus.PENDING if again else StepStatus.FAILED
    row.lease_token, row.held_until, row.lost = None, retry_at, 0
    run.resent = 0
    run.due_at = retry_at or now + resend_after(0)
    if not again:
        row.finished_at = now
        failure = asdict(Failure(step=row.name, kind=kind, error=type(error).__name__, message=message_of(error)))
        if _may_go_back(claim):
            run.failure = failure
        else:
            run.attention = failure
    _save([claim])


def _may_go_back(claim: _Claim) -> bool:
    """Say whether the run can still be undone: it goes forward and has not, and cannot have, passed its pivot."""
    pivot = claim.run.pivot_place
    if claim.run.status != RunStatus.RUNNING:
        return False
    return (
        pivot is None or claim.row.place < pivot or (claim.row.place == pivot and claim.row.status == StepStatus.FAILED)
    )


def _save(claims: Sequence[_Claim]) -> None:
    if len(claims) == 1:
        # bulk_update's CASE for each column costs four times as much as the update itself.
        claims[0].row.save(update_fields=_ROW_FIELDS)
        claims[0].run.save(update_fields=_RUN_FIELDS)
    elif claims:
        StepRun.objects.bulk_update([claim.row for claim in claims], _ROW_FIELDS)
        Run.objects.bulk_update([claim.run for claim in claims], _RUN_FIELDS)


_ROW_FIELDS = ("status", "attempts", "lost", "lease_token", "held_until", "started_at", "finished_at")
_RUN_FIELDS = ("status", "place", "results", "failure", "attention", "due_at", "resent", "finished_at")
