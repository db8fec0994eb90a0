"""A time limit for one try: work that hangs is interrupted, and fails like any other try."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from django.db import connection
from psycopg.pq import TransactionStatus

from ..core.errors import TryTimedOut

#: Seconds between repeated signals, for code that swallows the first one.
_AGAIN_SECONDS = 1.0


class time_limit:  # noqa: N801 - read as a function: `with time_limit(20):`
    """Cut the work inside short after so many seconds.

    Works in the main thread of a process, which is where Celery's prefork and solo pools run their tasks. Elsewhere
    (threads, gevent) this does nothing: the lease, and Celery's own limits, end such work.

    No generator: a signal between the end of the work and the end of a generator would leave the alarm behind, and cut
    later work short each second.

    Raises:
        TryTimedOut: it took longer. A statement under way is cancelled, so the transaction can be rolled back.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._works = threading.current_thread() is threading.main_thread()
        self._expired, self._is_over = False, False

    def __enter__(self) -> None:
        if self._works:
            self._began = time.monotonic()
            self._handler = signal.signal(signal.SIGALRM, self._cut_short)
            self._outer = signal.setitimer(signal.ITIMER_REAL, self.seconds, _AGAIN_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._is_over = True
        if not self._works:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        outer_seconds, outer_interval = self._outer
        if outer_seconds:  # restore an alarm that was set before
            left = max(outer_seconds - (time.monotonic() - self._began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, outer_interval)
        if self._expired and isinstance(error, Exception) and not isinstance(error, TryTimedOut):
            raise TryTimedOut(self.seconds) from error

    def _cut_short(self, _: int, interrupted: FrameType | None) -> None:
        # Python may handle a signal before `__enter__` has ended, as `__exit__` begins, or later.
        if self._is_over or (interrupted is not None and interrupted.f_code in _OWN):
            return
        self._expired = True
        if not _cancel_statement():
            raise TryTimedOut(self.seconds)


_OWN = (time_limit.__enter__.__code__, time_limit.__exit__.__code__)


def _cancel_statement() -> bool:
    """Cancel the statement of this process; False if there is none.

    An exception raised while psycopg waits for an answer would leave the connection in the middle of a statement.
    """
    session: Any = connection.connection
    if session is None or session.pgconn.transaction_status != TransactionStatus.ACTIVE:
        return False
    session.cancel_safe(timeout=2.0)
    return True
