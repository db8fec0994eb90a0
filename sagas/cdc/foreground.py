"""Processes of our own beside Celery's: they run until told to stop, through outages of the database."""

import signal
import threading
import time
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connections

logger = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 3.2


class Foreground:
    """One process, from its start to SIGTERM or Ctrl-C; current work is finished first."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def until_stopped(self) -> None:
        """Make SIGTERM and SIGINT stop this process after its current work; the second Ctrl-C stops it at once.

        To be called in the main thread.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stopped_by)

    @property
    def goes_on(self) -> bool:
        return not self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def rest(self, seconds: float) -> None:
        """Wait, unless told to stop."""
        self._stop.wait(seconds)

    def through_outages(self, work: Callable[[], None]) -> None:
        """Repeat work until told to stop; while the database is away, or refuses, wait and try again.

        Args:
            work: idempotent; it may fail anywhere.
        """
        pause_seconds = _FIRST_PAUSE_SECONDS
        while self.goes_on:
            began_at = time.monotonic()
            try:
                work()
            except (DatabaseError, InterfaceError) as error:
                if time.monotonic() - began_at > _LONGEST_PAUSE_SECONDS:
                    pause_seconds = _FIRST_PAUSE_SECONDS
                what = "database_away" if isinstance(error, OperationalError | InterfaceError) else "turn_failed"
                logger.warning(what, error=str(error).strip(), pause_seconds=pause_seconds)
                connections.close_all()
                self.rest(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _stopped_by(self, number: int, _: object) -> None:
        self._stop.set()
        signal.signal(number, signal.SIG_DFL)
