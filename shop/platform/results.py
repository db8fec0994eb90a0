"""The result back end of Celery, for people; only the journal decides about orders."""

from typing import Any

import structlog
from django.db import close_old_connections
from django_celery_results.backends.database import DatabaseBackend

logger = structlog.get_logger(__name__)


class ResultBackend(DatabaseBackend):  # type: ignore[misc] # it has no types
    """A result that cannot be written is a line in the log.

    Otherwise Celery would lose the error callback, and the main process (at an expired wake-up of the relay while
    PostgreSQL restarts) would end the worker.
    """

    def store_result(self, task_id: str, result: Any, state: str, *more: Any, **named: Any) -> Any:
        try:
            return super().store_result(task_id, result, state, *more, **named)
        except Exception as error:  # noqa: BLE001 - any error of the database
            logger.warning("result_not_stored", task_id=task_id, state=state, error=str(error).strip())
            # The main process has no `task_prerun` that renews a broken connection.
            close_old_connections()
            return result
