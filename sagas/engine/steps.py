"""Executes one step of runs and journals the outcome.

Knows rows, not messages. Runs that are not at the expected place and epoch, or are held by another worker, are ignored:
a late or doubled message does nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from django.db.models import F

from ..core import registry
from ..core.errors import DefinitionError, StepFailed, UnknownSagaError
from ..core.statuses import LIVE_RUNS
from ..db.read import columns, read
from ..db.rows import update_together
from ..models import Run, StepRun
from .journal import ROW_FIELDS, save
from .step_claim import StepClaim
from .tries import Clock, Work, take
from .undo import after_failure
from .wake_ups import WakeUp, wake_ups_of

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one message.

    Attributes:
        carries_on: some run moved on, so the rest of the chain has work.
        wake_ups: the chains to send after a batch: for runs without an outcome, and for runs to undo.
        failed: for a single run: its step was given up. Raise it, so that the error callback runs.
    """

    carries_on: bool = False
    wake_ups: list[WakeUp] = field(default_factory=list)
    failed: StepFailed | None = None


def execute(*, run_ids: Sequence[UUID], place: int, epoch: int, clock: Clock, redelivered: bool = False) -> Outcome:
    """Execute the step at `place` for those of `run_ids` that are there in `epoch`.

    Transaction: refuses one; opens its own. Inside steps share one transaction; an outside step is claimed in one,
    called in none, and settled in another.
    Idempotent: by run, epoch and place.

    Args:
        redelivered: the broker has delivered this message before; its worker may have died of it.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    work = _StepWork(run_ids=run_ids, place=place, epoch=epoch, redelivered=redelivered)
    taken = take(work, clock)
    given_up = [claim for claim in taken.failed if claim.is_given_up]
    if given_up and not work.is_batch:
        return Outcome(failed=given_up[0].failure_to_raise())
    wake_ups = wake_ups_of([claim.run for claim in taken.left], single=True) if work.is_batch else []
    if given_up:
        wake_ups += after_failure(run_ids=[claim.run.id for claim in given_up], epoch=epoch, now=clock())
    carries_on = bool(taken.done) or (redelivered and _is_further_on(run_ids, place, epoch))
    return Outcome(carries_on=carries_on, wake_ups=wake_ups)


@dataclass(frozen=True, kw_only=True)
class _StepWork(Work[StepClaim]):
    run_ids: Sequence[UUID]
    place: int
    epoch: int
    redelivered: bool

    @property
    def is_batch(self) -> bool:
        return len(self.run_ids) > 1

    def claim(self, now: datetime) -> list[StepClaim]:
        claims = []
        row: StepRun
        for row, row.run in read(
            f"""
            SELECT {columns(StepRun, "step")}, {columns(Run, "run")}
            FROM sagas_steprun AS step JOIN sagas_run AS run ON run.id = step.run_id
            WHERE step.run_id = ANY(%(ids)s) AND step.place = %(place)s
            AND run.place = %(place)s AND run.epoch = %(epoch)s
            AND (step.held_until IS NULL OR step.held_until <= %(now)s)
            ORDER BY step.run_id FOR NO KEY UPDATE OF step, run SKIP LOCKED
            """,  # noqa: S608 - our own columns
            {"ids": list(self.run_ids), "place": self.place, "epoch": self.epoch, "now": now},
            StepRun,
            Run,
        ):
            # Filtered in Python: with the status in SQL the planner takes the partial index on live runs.
            if row.run.status not in LIVE_RUNS:
                continue
            try:
                claims.append(StepClaim.of(row, registry.saga(row.run.saga), redelivered=self.redelivered))
            except (UnknownSagaError, DefinitionError) as error:
                # Other code planned it; a worker with that code executes it (rolling deploy).
                logger.warning("run_of_other_code", run_id=str(row.run_id), error=str(error))
        return claims

    def count_lost(self, claims: Sequence[StepClaim]) -> None:
        StepRun.objects.filter(pk__in=[claim.row.pk for claim in claims]).update(lost_tries=F("lost_tries") + 1)

    def save_leases(self, claims: Sequence[StepClaim]) -> None:
        moved = [claim.run for claim in claims if claim.run.due_at == claim.row.held_until]
        update_together(([claim.row for claim in claims], ROW_FIELDS), (moved, ("due_at",)))

    def held(self, claims: Sequence[StepClaim]) -> list[StepClaim]:
        runs = {run.pk: run for run in Run.objects.locked().filter(pk__in=[claim.run.pk for claim in claims])}
        tokens = dict(
            StepRun.objects.filter(pk__in=[claim.row.pk for claim in claims]).values_list("pk", "lease_token")
        )
        held = []
        for claim in claims:
            run = runs.get(claim.run.pk)
            if run is not None and run.epoch == self.epoch and tokens.get(claim.row.pk) == claim.row.lease_token:
                claim.row.run = run
                held.append(claim)
        return held

    def save(self, claims: Sequence[StepClaim]) -> None:
        save([claim.run for claim in claims], [claim.row for claim in claims])


def _is_further_on(run_ids: Sequence[UUID], place: int, epoch: int) -> bool:
    """Say whether the chain of a redelivered message continues: its worker may have died after the commit.

    A copy that the sweep sent ends here instead: the worker that executed the step continues. Otherwise a backlog older
    than `SAGAS_RESEND_AFTER_SECONDS` would grow by a whole chain with each copy.
    """
    return Run.objects.filter(id__in=run_ids, epoch=epoch, place__gt=place, status__in=LIVE_RUNS).exists()
