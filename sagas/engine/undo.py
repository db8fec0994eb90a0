"""Starts the undo of runs, and hands runs that can go neither forward nor back to a person."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F

from ..core import registry
from ..core.errors import DefinitionError, UnknownSagaError
from ..core.statuses import LIVE_RUNS, RunStatus
from ..models import Run, StepRun
from .journal import save
from .plan import plan_undo
from .rules import begin_undo
from .wake_ups import WakeUp, wake_ups

logger = structlog.get_logger(__name__)


def start_undo(*, run_ids: Sequence[UUID], epoch: int, now: datetime) -> list[WakeUp]:
    """Start the undo of the runs of `epoch` whose failure is in the journal; return the undo chains to send.

    The compare-and-set on status, epoch and failure makes it safe to call for any run at any time. The new epoch makes
    every message that is still under way do nothing.

    Transaction: opens one.
    Idempotent: by run and epoch.
    """
    with transaction.atomic():
        # Filtered in Python: with the status in SQL the planner takes the partial index on live runs.
        failed = Run.objects.claimed().filter(id__in=run_ids, epoch=epoch, failure__isnull=False)
        return undo_runs([run for run in failed if run.status == RunStatus.RUNNING], now=now)


def undo_runs(runs: Sequence[Run], *, now: datetime) -> list[WakeUp]:
    """Plan the undo of runs whose failure is noted; return the chains to send once that is committed.

    Transaction: requires the transaction that has locked the runs.
    """
    changed: list[StepRun] = []
    undo: list[StepRun] = []
    turned = []
    for run, rows in _with_rows(runs):
        try:
            planned = plan_undo(registry.saga(run.saga), run, rows)
        except (UnknownSagaError, DefinitionError) as error:
            # Other code planned it; a process with that code starts its undo (rolling deploy).
            logger.warning("run_of_other_code", run_id=str(run.id), error=str(error))
            continue
        begin_undo(run, rows, planned, now=now)
        changed += rows
        undo += planned
        turned.append(run)
    save(turned, changed)
    StepRun.objects.bulk_create(undo)
    return wake_ups(turned, undo)


def after_failure(*, run_ids: Sequence[UUID], epoch: int, now: datetime) -> list[WakeUp]:
    """After steps were given up, start the undo or set the run as needing a person; return the chains to send.

    Transaction: opens two.
    Idempotent: by run and epoch.
    """
    started = start_undo(run_ids=run_ids, epoch=epoch, now=now)
    hand_over(run_ids=run_ids, epoch=epoch, now=now)
    return started


def hand_over(*, run_ids: Sequence[UUID], epoch: int, now: datetime) -> int:
    """Set the runs of `epoch` that can go neither forward nor back as needing a person; return how many.

    Transaction: opens one.
    Idempotent: by run and epoch.
    """
    with transaction.atomic():
        stuck = Run.objects.locked().filter(id__in=run_ids, epoch=epoch, attention__isnull=False)
        live = [pk for pk, status in stuck.values_list("pk", "status") if status in LIVE_RUNS]
        if not live:
            return 0
        return Run.objects.filter(pk__in=live).update(
            status=RunStatus.NEEDS_ATTENTION, resumes_as=F("status"), stopped_at=now, epoch=F("epoch") + 1, due_at=None
        )


def _with_rows(runs: Sequence[Run]) -> list[tuple[Run, list[StepRun]]]:
    rows_of: dict[UUID, list[StepRun]] = {run.id: [] for run in runs}
    for row in StepRun.objects.filter(run__in=runs).order_by("place"):
        rows_of[row.run_id].append(row)
    return [(run, rows_of[run.id]) for run in runs]
