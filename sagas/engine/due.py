"""What is due: one statement at the beginning of each sweep."""

from datetime import datetime
from typing import NamedTuple

from django.db import connection

from ..core.statuses import LIVE_DELIVERIES, LIVE_RUNS, InterventionStatus, RunStatus

#: `min`, not EXISTS: with statistics taken while many rows were due, EXISTS would read the whole table.
_DUE = """
    SELECT
        coalesce(LEAST(
            (SELECT min(due_at) FROM sagas_run WHERE status = ANY(%(live_runs)s)),
            (SELECT min(deadline_at) FROM sagas_run WHERE status = %(running)s)
        ) <= %(now)s, false),
        coalesce((SELECT min(due_at) FROM sagas_delivery WHERE status = ANY(%(live_deliveries)s)) <= %(now)s, false),
        EXISTS (SELECT FROM sagas_intervention WHERE status = %(pending)s)
"""


class Due(NamedTuple):
    """Whether there is work for the parts of a sweep; another process may do it first."""

    runs: bool
    deliveries: bool
    interventions: bool


def due(now: datetime) -> Due:
    """Say what is due, also of sagas and subscriptions that this process does not know.

    Transaction: a single statement.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _DUE,
            {
                "now": now,
                "live_runs": [str(status) for status in LIVE_RUNS],
                "running": str(RunStatus.RUNNING),
                "live_deliveries": [str(status) for status in LIVE_DELIVERIES],
                "pending": str(InterventionStatus.PENDING),
            },
        )
        return Due(*cursor.fetchone())
