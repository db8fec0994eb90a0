"""What is due: one statement at the beginning of each sweep, which mostly finds nothing."""

from datetime import datetime
from typing import NamedTuple

from django.db import connection

from ..core.statuses import LIVE_DELIVERIES, LIVE_RUNS, InterventionStatus, RunStatus

_DUE = """
    SELECT
        EXISTS (SELECT FROM sagas_run WHERE status = ANY(%(live_runs)s) AND due_at <= %(now)s)
            OR EXISTS (SELECT FROM sagas_run WHERE status = %(running)s AND deadline_at <= %(now)s),
        EXISTS (SELECT FROM sagas_delivery WHERE status = ANY(%(live_deliveries)s) AND due_at <= %(now)s),
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
