"""A time limit for one try: work that hangs is interrupted, and fails like any other try."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from psycopg.pq import TransactionStatus

from ..core.errors import TryTimedOut

#: Seconds between repeated signals, for code that swallows the first one.
_AGAIN_SECONDS = 1.0


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Cut the work inside short after so many seconds.

    Works in the main thread of a process, which is where Celery's prefork and solo pools run their tasks. Elsewhere
    (threads, gevent) this does nothing: the lease, and Celery's own limits, end such work.

    Raises:
        TryTimedOut: it took longer. A statement under way is cancelled, so the transaction can be rolled back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    expired = False

    def cut_short(*_: Any) -> None:
        nonlocal expired
        expired = True
        if not _cancel_statement():
            raise TryTimedOut(seconds)

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, cut_short)
    outer_seconds, outer_interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        yield
    except TryTimedOut:
        raise
    except Exception as error:
        if expired:
            raise TryTimedOut(seconds) from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer_seconds:  # restore an alarm that was set before
            left = max(outer_seconds - (time.monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, outer_interval)


def _cancel_statement() -> bool:
    """Cancel the statement of this process; False if there is none.

    An exception raised while psycopg waits for an answer would leave the connection in the middle of a statement.
    """
    session: Any = connection.connection
    if session is None or session.pgconn.transaction_status != TransactionStatus.ACTIVE:
        return False
    session.cancel_safe(timeout=2.0)
    return True
