"""Where Celery keeps results for people to look at; the journal alone decides what becomes of an order (rule 1)."""

from typing import Any

import structlog
from django.db import close_old_connections
from django_celery_results.backends.database import DatabaseBackend

logger = structlog.get_logger(__name__)


class Results(DatabaseBackend):  # type: ignore[misc] # it has no types
    """A result that cannot be written is a line in the log.

    Celery would lose the error callback over it and, where the main process writes (an expired wake-up of the relay
    while PostgreSQL restarts), end the worker.
    """

    def store_result(self, task_id: str, result: Any, state: str, *more: Any, **named: Any) -> Any:
        try:
            return super().store_result(task_id, result, state, *more, **named)
        except Exception as error:  # noqa: BLE001 - whatever the database says
            logger.warning("result_not_stored", task_id=task_id, state=state, error=str(error).strip())
            # The main process has no `task_prerun` to renew a connection that broke.
            close_old_connections()
            return result
