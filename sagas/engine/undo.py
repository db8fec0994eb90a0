"""How runs turn back, and how they come in front of a person when they can go neither on nor back."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F

from ..core import registry
from ..core.errors import DefinitionError, UnknownSagaError
from ..core.statuses import LIVE_RUNS, MAY_HAVE_EFFECT, RunStatus, StepStatus
from ..db.rows import update_all
from ..models import Run, StepRun
from .plan import plan_undo
from .rules import begin_undo
from .wake_ups import WakeUp, wake_ups

logger = structlog.get_logger(__name__)

#: What an undo changes of a run.
_RUN_FIELDS = ("status", "epoch", "place", "due_at", "resends", "deadline_at", "finished_at")


def start_undo(*, run_ids: Sequence[UUID], epoch: int, now: datetime) -> list[WakeUp]:
    """Turn back the runs of `epoch` whose failure is in the journal; return the undo chains to send.

    The compare-and-set on status, epoch and failure makes it safe to call for any run at any time; the new epoch
    makes every message that is still under way harmless.

    Transaction: opens one.
    Idempotent: by run and epoch.
    """
    with transaction.atomic():
        # The status is not asked of the database: it would think of the indexes of live runs.
        failed = Run.objects.claimed().filter(id__in=run_ids, epoch=epoch, failure__isnull=False)
        return turn_back([run for run in failed if run.status == RunStatus.RUNNING], now=now)


def turn_back(runs: Sequence[Run], *, now: datetime) -> list[WakeUp]:
    """Plan the undo of runs whose failure is noted; return the chains to send once that is committed.

    Transaction: requires the one that has locked the runs.
    """
    undo: list[StepRun] = []
    turned = []
    for run, rows in _with_rows(runs):
        try:
            planned = plan_undo(registry.saga(run.saga), run, rows)
        except (UnknownSagaError, DefinitionError) as error:
            # Other code planned it; a process that has that code turns it back (rolling deploy).
            logger.warning("run_of_other_code", run_id=str(run.id), error=str(error))
            continue
        begin_undo(run, planned, now=now)
        undo.extend(planned)
        turned.append(run)
    StepRun.objects.filter(run__in=turned, status=StepStatus.PENDING).update(status=StepStatus.SKIPPED)
    StepRun.objects.filter(run__in=turned, status__in=MAY_HAVE_EFFECT).update(
        status=StepStatus.UNDOING, lease_token=None, held_until=None
    )
    StepRun.objects.bulk_create(undo)
    update_all(turned, _RUN_FIELDS)
    return wake_ups(turned, undo)


def hand_over(*, run_ids: Sequence[UUID], epoch: int, now: datetime) -> int:
    """Put the runs of `epoch` that can go neither on nor back in front of a person; return how many.

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
