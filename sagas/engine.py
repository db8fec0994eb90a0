"""The engine: takes runs one step on and journals what came of it.

Knows rows, not messages. Every function takes lists of runs, claims what nobody else holds, and is harmless when
called twice or late: what is not at the expected place and epoch is left alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import F

from . import registry
from .attempts import check_constraints, failed_try
from .bulk import update_all
from .claims import Claim
from .errors import DefinitionError, StepFailed, TransactionRefusedError, UnknownSagaError
from .events import caused_by
from .limits import time_limit
from .models import Run, StepRun
from .plans import WakeUp, wake_ups_of
from .progress import advance, fail
from .transitions import LIVE_RUNS, StepStatus

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
    stopped = [claim for claim in claims if claim.gave_up]
    for claim in claims:
        if claim in stopped or not claim.step.outside:
            continue
        if alone:
            carries_on = _run_outside(claim, clock)
            stopped = [claim] if claim.gave_up else []
        else:
            # One after the other, each with a lease of its own: a slow answer must not use up its neighbours' time.
            outcome = execute(run_ids=[claim.run.id], place=place, epoch=epoch, clock=clock)
            carries_on = carries_on or outcome.carries_on
            stopped += [claim] if outcome.failed else []
    if alone and stopped:
        return Outcome(failed=stopped[0].failed())
    return Outcome(
        carries_on=carries_on or (redelivered and not claims and _is_further_on(run_ids, place, epoch)),
        alone=wake_ups_of([claim.run for claim in (*left, *stopped)], size=1),
    )


def _take(
    run_ids: Sequence[UUID], place: int, epoch: int, clock: Clock, *, redelivered: bool
) -> tuple[list[Claim], list[Claim], list[Claim]]:
    """Claim what stands there and do what can be done inside; return all claims, those done, those to be sent alone.

    The outside step of a run that was sent alone is leased; those of a batch are left, to be executed one by one.
    """
    alone, counted = len(run_ids) == 1, False
    while True:
        with transaction.atomic():
            claims = _claim(run_ids, place, epoch, clock())
            doubtful = [] if counted else [claim.row.pk for claim in claims if redelivered or claim.run.resent]
            if not doubtful:
                ready = [claim for claim in claims if not claim.gave_up]
                if alone:
                    _lease([claim for claim in ready if claim.step.outside], clock())
                return (claims, *_take_inside([claim for claim in ready if not claim.step.outside], clock, alone=alone))
            # Counted in a commit of its own, before the effect: what kills its worker must not come round for ever.
            StepRun.objects.filter(pk__in=doubtful).update(lost=F("lost") + 1)
        counted = True


def _take_inside(claims: Sequence[Claim], clock: Clock, *, alone: bool) -> tuple[list[Claim], list[Claim]]:
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


def _claim(run_ids: Sequence[UUID], place: int, epoch: int, now: datetime) -> list[Claim]:
    rows = (
        StepRun.objects.select_related("run")
        .filter(run_id__in=run_ids, place=place, run__place=place, run__epoch=epoch, run__status__in=LIVE_RUNS)
        .exclude(held_until__gt=now)
        .order_by("run_id")
        .select_for_update(no_key=True, skip_locked=True, of=("self", "run"))
    )
    claims = []
    for row in rows:
        try:
            claims.append(Claim.of(row.run, row, registry.saga(row.run.saga)))
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


def _run_inside(claim: Claim, now: datetime) -> Exception | None:
    """Run the step in a savepoint; return what it raised, with its effect rolled back."""
    claim.begin(now)
    try:
        with caused_by(claim.cause), transaction.atomic(), time_limit(claim.limit_seconds):
            claim.take(claim.perform(now))
            check_constraints()
    except Exception as error:  # noqa: BLE001 - the engine isolates steps
        return error
    return None


def _lease(claims: Sequence[Claim], now: datetime) -> None:
    """Note that outside calls are about to be made: see Note [Lease token] in models.py."""
    for claim in claims:
        claim.begin(now)
    _save(claims)


def _run_outside(claim: Claim, clock: Clock) -> bool:
    """Make the call in no transaction and settle it in one; say whether it succeeded."""
    started_at = clock()
    error: Exception | None = None
    try:
        with caused_by(claim.cause), time_limit(claim.limit_seconds):
            claim.take(claim.perform(started_at))
    except Exception as raised:  # noqa: BLE001 - the engine isolates steps
        error = raised
    with transaction.atomic():
        if not _still_holds(claim):
            logger.warning("lease_lost", run_id=str(claim.run.id), step=claim.row.name)
            return False
        if error is None:
            _advance([claim], clock())
        else:
            _fail(claim, error, started_at=started_at, now=clock())
    return error is None


def _still_holds(claim: Claim) -> bool:
    """Lock the rows again, run first as everybody does, and say whether this lease is the current one."""
    run = Run.objects.select_for_update(no_key=True).filter(pk=claim.run.pk, epoch=claim.run.epoch).first()
    row = StepRun.objects.filter(pk=claim.row.pk, lease_token=claim.row.lease_token).first()
    if run is None or row is None:
        return False
    claim.run, claim.row = run, row
    return True


def _advance(claims: Sequence[Claim], now: datetime) -> None:
    """Journal that steps are done and move their runs on."""
    for claim in claims:
        advance(claim.run, claim.row, claim.result, now=now)
    _save(claims)
    undone = [claim.row for claim in claims if claim.row.action == StepRun.Action.UNDO]
    if undone:
        StepRun.objects.filter(
            run__in=[row.run_id for row in undone], step=undone[0].step, action=StepRun.Action.RUN
        ).update(status=StepStatus.UNDONE)


def _fail(claim: Claim, error: Exception, *, started_at: datetime, now: datetime) -> None:
    """Journal a failed try."""
    failed = fail(claim.run, claim.row, claim.step, error, asked_first=claim.asks_first, now=now)
    failed_try(error, of=claim.row, kind=failed.kind, started_at=started_at, failed_at=now, retry_at=failed.retry_at)
    _save([claim])


def _save(claims: Sequence[Claim]) -> None:
    if len(claims) == 1:
        # The plain statement costs less for one.
        claims[0].row.save(update_fields=_ROW_FIELDS)
        claims[0].run.save(update_fields=_RUN_FIELDS)
    elif claims:
        update_all([claim.row for claim in claims], _ROW_FIELDS)
        update_all([claim.run for claim in claims], _RUN_FIELDS)


_ROW_FIELDS = ("status", "attempts", "lost", "lease_token", "held_until", "started_at", "finished_at")
_RUN_FIELDS = (
    "status",
    "resumes_as",
    "stopped_at",
    "place",
    "results",
    "failure",
    "attention",
    "due_at",
    "resent",
    "finished_at",
)
