"""The engine: takes runs one step on and journals what came of it.

Knows rows, not messages. Every function takes lists of runs, claims what nobody else holds, and is harmless when
called twice or late: what is not at the expected place and epoch is left alone.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import F

from ..core import registry
from ..core.cause import caused_by, caused_by_each
from ..core.errors import DefinitionError, StepFailed, TransactionRefusedError, UnknownSagaError
from ..core.saga import SetFunction
from ..core.statuses import LIVE_RUNS, StepStatus
from ..db.read import columns, read
from ..db.rows import update_together
from ..db.storable import message_of
from ..db.time_limit import time_limit
from ..models import Run, StepRun
from .rules import advance, fail
from .step_claim import StepClaim
from .tries import check_constraints, failed_try
from .wake_ups import WakeUp, wake_ups_of

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

    Transaction: refuses one; opens its own. Inside steps share one transaction, by their set-based form or each in a
    savepoint; an outside step is claimed in one, called in none, and settled in another.
    Idempotent: by run, epoch and place.

    Args:
        redelivered: the broker gave this message out before; the worker that had it may have died of it.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("the engine commits its own transactions")
    taken = _take(run_ids, place, epoch, clock, redelivered=redelivered)
    alone: list[WakeUp] = []
    if len(run_ids) > 1:
        called = _call_many(taken.outside, clock)
        taken.done += called
        alone = wake_ups_of([claim.run for claim in (*taken.left, *_without(taken.outside, called))], single=True)
    else:
        taken.done += [claim for claim in taken.outside if _run_outside(claim, clock)]
        for claim in (*taken.outside, *taken.left):
            if claim.is_given_up:
                return Outcome(failed=claim.failed())
    carries_on = bool(taken.done) or (redelivered and _is_further_on(run_ids, place, epoch))
    return Outcome(carries_on=carries_on, single=single)


@dataclass(kw_only=True)
class _Taken:
    """What was claimed for one message: done inside, leased to be called outside, or left as it was."""

    done: list[StepClaim] = field(default_factory=list)
    outside: list[StepClaim] = field(default_factory=list)
    left: list[StepClaim] = field(default_factory=list)


def _take(run_ids: Sequence[UUID], place: int, epoch: int, clock: Clock, *, redelivered: bool) -> _Taken:
    """Claim what stands there, do what can be done inside, lease what is to be called outside."""
    counted = False
    while True:
        with transaction.atomic():
            claims = _claim(run_ids, place, epoch, clock())
            # What a batch leaves alone is not tried by it.
            tried = [claim for claim in claims if len(run_ids) == 1 or claim.fits_a_batch]
            doubtful = [] if counted else [claim.row.pk for claim in tried if redelivered or claim.run.resends]
            if not doubtful:
                return _take_many(claims, clock) if len(run_ids) > 1 else _take_one(claims, clock)
            # Counted in a commit of its own, before the effect: what kills its worker must not come round for ever.
            StepRun.objects.filter(pk__in=doubtful).update(lost_tries=F("lost_tries") + 1)
        counted = True


def _take_one(claims: Sequence[StepClaim], clock: Clock) -> _Taken:
    """Take a run that was sent alone: the one path on which a failure is journalled."""
    taken = _Taken()
    for claim in claims:
        if claim.is_given_up:
            taken.left.append(claim)
        elif claim.step.outside:
            _lease([claim], clock())
            taken.outside.append(claim)
        else:
            started_at = clock()
            error = _run_inside(claim, started_at)
            if error is None:
                _advance([claim], clock())
                taken.done.append(claim)
            else:
                _fail(claim, error, started_at=started_at, now=clock())
                taken.left.append(claim)
    return taken


def _take_many(claims: Sequence[StepClaim], clock: Clock) -> _Taken:
    """Take the runs of a batch; what does not fit into one, or fails in it, is left as it was."""
    taken = _Taken(left=[claim for claim in claims if not claim.fits_a_batch])
    for alike in _alike(claim for claim in claims if claim.fits_a_batch):
        if alike[0].step.outside:
            _lease(alike, clock())
            taken.outside += alike
        else:
            done = _run_many(alike, clock())
            if done is None:
                done = _run_each(alike, clock)
            _advance(done, clock())
            taken.done += done
            taken.left += _without(alike, done)
    return taken


def _without(claims: Iterable[StepClaim], done: Iterable[StepClaim]) -> list[StepClaim]:
    those = set(done)
    return [claim for claim in claims if claim not in those]


def _alike(claims: Iterable[StepClaim]) -> Iterable[list[StepClaim]]:
    """Group claims that are the same work: sagas may share the name of a task."""
    groups: dict[tuple[str, str, str], list[StepClaim]] = defaultdict(list)
    for claim in claims:
        groups[claim.saga.name, claim.row.step, claim.row.action].append(claim)
    return groups.values()


def _run_many(claims: Sequence[StepClaim], now: datetime) -> list[StepClaim] | None:
    """Do an inside step by its set-based form, in a savepoint; return the claims that are done.

    None if there is no such form, or it raised: then nothing was done.
    """
    many = claims[0].many
    if many is None:
        return None
    for claim in claims:
        claim.begin(now)
    done: list[StepClaim] | None = None
    try:
        with transaction.atomic():
            done = _taken_by(many, claims, now)
            check_constraints()
    except Exception as error:  # noqa: BLE001 - the engine isolates steps
        done = None
        logger.warning("batch_failed", step=claims[0].row.name, error=message_of(error), size=len(claims))
    for claim in _without(claims, done or ()):
        claim.row.attempts -= 1  # the try alone is the one that counts
    return done


def _taken_by(many: SetFunction, claims: Sequence[StepClaim], now: datetime) -> list[StepClaim]:
    """Call a set-based action, and take the results it names."""
    with caused_by_each({claim.run.key: claim.cause for claim in claims}), time_limit(claims[0].limit_seconds):
        results = many([claim.call(now) for claim in claims])
    done = [claim for claim in claims if claim.run.id in results]
    for claim in done:
        claim.take(results[claim.run.id])
    return done


def _run_each(claims: Sequence[StepClaim], clock: Clock) -> list[StepClaim]:
    """Do an inside step for one run after the other, each in a savepoint, for as long as one try may take."""
    until, done = time.monotonic() + claims[0].limit_seconds, []
    for claim in claims:
        left_seconds = until - time.monotonic()
        if left_seconds <= 0:
            break
        if _run_inside(claim, clock(), max_seconds=left_seconds) is None:
            done.append(claim)
        else:
            claim.row.attempts -= 1  # the try alone is the one that counts
    return done


def _call_many(claims: Sequence[StepClaim], clock: Clock) -> list[StepClaim]:
    """Make leased calls outside at once, in no transaction, and settle them in one; return those that are done.

    The others are asked about alone: nobody knows what became of them.
    """
    if not claims:
        return []
    many = claims[0].many
    answered: list[StepClaim] = []
    try:
        now = clock()
        if many is not None and all(claim.is_in_time(now) for claim in claims):
            answered = _taken_by(many, claims, now)
    except Exception as error:  # noqa: BLE001 - the engine isolates steps
        logger.warning("batch_failed", step=claims[0].row.name, error=message_of(error), size=len(claims))
    with transaction.atomic():
        held = _still_held(claims)
        done = [claim for claim in answered if claim in held]
        unanswered = held.difference(done)
        for claim in unanswered:
            claim.leave_unanswered()
        _save([claim for claim in claims if claim in unanswered])
        _advance(done, clock())
    return done


def _still_held(claims: Sequence[StepClaim]) -> set[StepClaim]:
    """As `_still_holds`, for many."""
    runs = {run.pk: run for run in Run.objects.locked().filter(pk__in=[claim.run.pk for claim in claims])}
    tokens = dict(StepRun.objects.filter(pk__in=[claim.row.pk for claim in claims]).values_list("pk", "lease_token"))
    held = set()
    for claim in claims:
        run = runs.get(claim.run.pk)
        if run is not None and run.epoch == claim.run.epoch and tokens.get(claim.row.pk) == claim.row.lease_token:
            claim.run = run
            held.add(claim)
    return held


def _claim(run_ids: Sequence[UUID], place: int, epoch: int, now: datetime) -> list[StepClaim]:
    claims = []
    row: StepRun
    for row, row.run in read(
        f"""
        SELECT {columns(StepRun, "step")}, {columns(Run, "run")}
        FROM sagas_steprun AS step JOIN sagas_run AS run ON run.id = step.run_id
        WHERE step.run_id = ANY(%(ids)s) AND step.place = %(place)s AND run.place = %(place)s AND run.epoch = %(epoch)s
        AND (step.held_until IS NULL OR step.held_until <= %(now)s)
        ORDER BY step.run_id FOR NO KEY UPDATE OF step, run SKIP LOCKED
        """,  # noqa: S608 - our own columns
        {"ids": list(run_ids), "place": place, "epoch": epoch, "now": now},
        StepRun,
        Run,
    ):
        # Not asked of the database: it would think of the indexes of live runs, though it is given their ids.
        if row.run.status not in LIVE_RUNS:
            continue
        try:
            claims.append(StepClaim.of(row.run, row, registry.saga(row.run.saga)))
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


def _run_inside(claim: StepClaim, now: datetime, *, max_seconds: float = math.inf) -> Exception | None:
    """Run the step in a savepoint; return what it raised, with its effect rolled back."""
    claim.begin(now)
    try:
        with caused_by(claim.cause), transaction.atomic(), time_limit(min(claim.limit_seconds, max_seconds)):
            claim.take(claim.perform(now))
            check_constraints()
    except Exception as error:  # noqa: BLE001 - the engine isolates steps
        return error
    return None


def _lease(claims: Sequence[StepClaim], now: datetime) -> None:
    """Note that outside calls are about to be made: see Note [Lease token] in models.py."""
    before = {claim: claim.run.due_at for claim in claims}
    for claim in claims:
        claim.begin(now)
    moved = [claim.run for claim in claims if claim.run.due_at != before[claim]]
    update_together(([claim.row for claim in claims], _ROW_FIELDS), (moved, ("due_at",)))


def _run_outside(claim: StepClaim, clock: Clock) -> bool:
    """Make the call in no transaction and settle it in one; say whether it succeeded."""
    started_at = clock()
    error: Exception | None = None
    try:
        with caused_by(claim.cause), time_limit(claim.limit_seconds):
            claim.take(claim.perform(started_at, clock))
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


def _still_holds(claim: StepClaim) -> bool:
    """Lock the rows again, run first as everybody does, and say whether this lease is the current one."""
    run = Run.objects.select_for_update(no_key=True).filter(pk=claim.run.pk, epoch=claim.run.epoch).first()
    row = StepRun.objects.filter(pk=claim.row.pk, lease_token=claim.row.lease_token).first()
    if run is None or row is None:
        return False
    claim.run, claim.row = run, row
    return True


def _advance(claims: Sequence[StepClaim], now: datetime) -> None:
    """Journal that steps are done and move their runs on."""
    for claim in claims:
        advance(claim.run, claim.row, claim.result, now=now)
    _save(claims)
    undone = [claim.row for claim in claims if claim.row.action == StepRun.Action.UNDO]
    if undone:
        StepRun.objects.filter(
            run__in=[row.run_id for row in undone], step=undone[0].step, action=StepRun.Action.RUN
        ).update(status=StepStatus.UNDONE)


def _fail(claim: StepClaim, error: Exception, *, started_at: datetime, now: datetime) -> None:
    """Journal a failed try."""
    failed = fail(claim.run, claim.row, claim.step, error, asked_first=claim.asks_first, now=now)
    failed_try(error, of=claim.row, kind=failed.kind, started_at=started_at, failed_at=now, retry_at=failed.retry_at)
    _save([claim])


def _save(claims: Sequence[StepClaim]) -> None:
    update_together(([claim.row for claim in claims], _ROW_FIELDS), ([claim.run for claim in claims], _RUN_FIELDS))


_ROW_FIELDS = ("status", "attempts", "lost_tries", "lease_token", "held_until", "started_at", "finished_at")
_RUN_FIELDS = (
    "status",
    "resumes_as",
    "stopped_at",
    "place",
    "results",
    "failure",
    "attention",
    "due_at",
    "resends",
    "deadline_at",
    "finished_at",
)
