"""Writes runs and their rows as the rules have changed them in memory."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from ..core.statuses import RowAction, StepStatus
from ..db.rows import update_all, update_together
from ..models import Run, StepRun
from .rules import undone_by

#: The columns that a try changes, and that the start of an undo, a skip or a retry changes.
ROW_FIELDS = ("status", "attempts", "lost_tries", "lease_token", "held_until", "started_at", "finished_at")
_RUN_FIELDS = (
    "status",
    "resumes_as",
    "stopped_at",
    "epoch",
    "place",
    "results",
    "failure",
    "attention",
    "due_at",
    "resends",
    "deadline_at",
    "finished_at",
)


def save(runs: Sequence[Run], rows: Sequence[StepRun]) -> None:
    """Write runs and rows of theirs; mark the steps whose undo is done as undone.

    Transaction: requires the transaction that has locked the runs.
    """
    update_together((rows, ROW_FIELDS), (runs, _RUN_FIELDS))
    done = [row for row in rows if row.action == RowAction.UNDO and row.status == StepStatus.DONE]
    if not done:
        return
    plans = StepRun.objects.filter(run__in=[row.run_id for row in done], action=RowAction.RUN)
    rows_of: dict[UUID, list[StepRun]] = defaultdict(list)
    for row in plans.filter(step__in={row.step for row in done}):
        rows_of[row.run_id].append(row)
    update_all([effect for row in done for effect in undone_by(row, rows_of[row.run_id])], ("status",))
