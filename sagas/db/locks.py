"""Advisory locks of PostgreSQL: mutual exclusion of processes where there is no row to lock.

All of them are held until the transaction ends; PostgreSQL releases the locks of a process that dies.
"""

import hashlib
from enum import IntEnum

from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable


class Lock(IntEnum):
    """The locks of the engine. The numbers are four letters in ASCII, and are shared by a whole database."""

    LOG = 0x72656C61  #: "rela": the end of the event log; one relay at a time appends
    RECONCILIATION = 0x7265636F  #: "reco": one reconciliation at a time


def take(lock: Lock | str) -> None:
    """Take a lock, waiting until it is free.

    Transaction: requires one.

    Args:
        lock: one of the engine's, or a name, such as `share of webhook-erp`.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_number(lock)])


def wait_until_free(lock: Lock | str, *, seconds: float) -> bool:
    """Wait for the end of the transaction that has the lock; return False if it has not ended after `seconds`.

    Transaction: call it in none; the lock is free again when it returns.
    """
    limit = f"{max(1, round(1000 * seconds))}ms"
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s) FROM set_config('lock_timeout', %s, true)", [_number(lock), limit]
            )
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    return True


def take_if_free(lock: Lock | str) -> bool:
    """Take a lock if it is free; say whether this transaction has it now.

    Transaction: requires one.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_number(lock)])
        (taken,) = cursor.fetchone() or (False,)
        return bool(taken)


def _number(lock: Lock | str) -> int:
    """Return PostgreSQL's number of a lock: 64 bits, signed."""
    if isinstance(lock, Lock):
        return int(lock)
    return int.from_bytes(hashlib.blake2b(lock.encode(), digest_size=8).digest(), "big", signed=True)
