"""Advisory locks of PostgreSQL: one process at a time does a thing that no row stands for.

All of them are held until the transaction ends; a process that dies lets go of its own.
"""

from enum import IntEnum
from uuid import UUID

from django.db import connection


class Lock(IntEnum):
    """The locks of the engine. The numbers are four letters in ASCII, and are shared by a whole database."""

    LOG = 0x72656C61  #: "rela": the end of the event log, which one relay at a time moves on
    RECONCILIATION = 0x7265636F  #: "reco": one reconciliation at a time


def take(lock: Lock | UUID) -> None:
    """Take a lock, waiting until it is free.

    Transaction: requires one.

    Args:
        lock: one of the engine's, or the id of something that is not a row yet.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_number(lock)])


def take_if_free(lock: Lock | UUID) -> bool:
    """Take a lock if it is free; say whether this transaction has it now.

    Transaction: requires one.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_number(lock)])
        (taken,) = cursor.fetchone() or (False,)
        return bool(taken)


def _number(lock: Lock | UUID) -> int:
    """Return the number PostgreSQL knows a lock by: 64 bits, signed."""
    return int(lock) if isinstance(lock, Lock) else int.from_bytes(lock.bytes[-8:], "big", signed=True)
