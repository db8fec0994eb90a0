"""One clock for all processes: the database's (decision 0010).

All times that one process writes and another compares (leases, due dates, deadlines) come from this clock. The
machine's own clock may be minutes off, and may be set while the process runs.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

#: How long one reading is used: two clocks drift apart by about a millisecond in that time.
_READ_EVERY_SECONDS = 10.0
#: A reading that took longer is not precise: the server or this process stood still meanwhile.
_MAX_SECONDS_ON_THE_WAY = 0.5
#: After this many such readings in a row, the last one is taken.
_MAX_READINGS = 5

#: This clock cannot be set, and all processes of a machine share it, so a reading is valid after a fork. With
#: CLOCK_BOOTTIME it also counts the time a machine was asleep.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The time of the database's clock when the steady one was at `steady` seconds."""

    time: datetime
    steady: float


#: Replaced, never changed: so threads may read it at the same moment.
_reading: _Reading | None = None


def now() -> datetime:
    """Return the database's time, in UTC.

    It costs one statement every ten seconds in each process. It may be off by half a round trip, and after a reading it
    may go back by as much. If the database's own clock is set, all processes follow within ten seconds.

    Transaction: any, or none; the time goes on inside one.

    Raises:
        django.db.Error: as any statement would.
    """
    global _reading  # noqa: PLW0603 - of this process
    reading, steady = _reading, time.clock_gettime(_STEADY)
    if reading is None or steady - reading.steady > _READ_EVERY_SECONDS:
        _reading = reading = _read()
        steady = time.clock_gettime(_STEADY)
    return reading.time + timedelta(seconds=steady - reading.steady)


def _read() -> _Reading:
    number = 0
    while True:
        number += 1
        asked = time.clock_gettime(_STEADY)
        answer = _database_time()
        answered = time.clock_gettime(_STEADY)
        if answered - asked <= _MAX_SECONDS_ON_THE_WAY or number == _MAX_READINGS:
            return _Reading(time=answer, steady=(asked + answered) / 2)


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
        return row[0]
