"""Calls that start at the same moment, each in a thread with a database connection of its own."""

import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import connection, connections

T = TypeVar("T")


def at_once(*calls: Callable[[], T], seconds: float = 20) -> list[T | Exception]:
    """Make the calls together; return what each returned or raised, in their order."""
    together = threading.Barrier(len(calls))
    answers: dict[int, T | Exception] = {}

    def run(number: int, call: Callable[[], T]) -> None:
        try:
            connections["default"].ensure_connection()
            together.wait(seconds)
            answers[number] = call()
        except Exception as error:  # noqa: BLE001 - it is the answer
            answers[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert len(answers) == len(calls), f"{len(calls) - len(answers)} calls did not come back in {seconds:g} s"
    return [answers[number] for number in range(len(calls))]


def another_waits_for_us() -> bool:
    """Say whether another transaction waits for a lock of this one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
        return cursor.fetchone() is not None
