"""Retries for a database that goes away while a message is handled."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connections

logger = structlog.get_logger(__name__)

#: A killed PostgreSQL is back within seconds, on a busy machine a little later. Including the last try, the work stays
#: within Celery's time limit.
_OUTAGE_SECONDS = 25.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 3.2

T = TypeVar("T")


def through_an_outage(work: Callable[[bool], T]) -> T:
    """Call `work` again while the database is away, and return its result; `work` must be idempotent.

    A worker without its database can do nothing else. If it failed instead, it would use up every message of its queues
    within seconds, and their runs would wait for the sweep.

    Args:
        work: called with whether this call is a repetition.

    Raises:
        OperationalError, InterfaceError: the database did not come back in time.
    """
    until, pause_seconds, again = time.monotonic() + _OUTAGE_SECONDS, _FIRST_PAUSE_SECONDS, False
    while True:
        try:
            return work(again)
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() + pause_seconds > until:
                raise
            logger.warning("database_away", error=str(error).strip(), pause_seconds=pause_seconds)
            connections.close_all()
            time.sleep(pause_seconds)
            pause_seconds, again = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS), True
