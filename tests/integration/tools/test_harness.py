"""What one test leaves behind does not reach the next one, neither a session nor a process."""

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test import TransactionTestCase

from tests.concurrency import at_once
from tests.conftest import Processes, processes_in, wait_for
from tests.emptying import make_session_new


def ask(statement: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def lose_the_connection() -> None:
    pid = connection.connection.info.backend_pid
    at_once(lambda: ask(f"SELECT pg_terminate_backend({pid}, 10000)"))


def leave_a_transaction_open() -> None:
    transaction.atomic().__enter__()
    execute("SELECT 1")


def leave_a_broken_transaction_open() -> None:
    leave_a_transaction_open()
    transaction.set_rollback(True)


def close_in_a_transaction() -> None:
    leave_a_transaction_open()
    connection.close()


def test_the_session_is_as_new_after_a_test(transactional_db: None) -> None:
    pid = ask("SELECT pg_backend_pid()")
    timezone = ask("SHOW timezone")
    execute(
        "SET ROLE pg_monitor",
        "SET statement_timeout = 1000",
        "SET timezone = 'Asia/Tokyo'",
        "SELECT pg_advisory_lock(7)",
        "LISTEN parcels",
        "RESET ROLE",
        "CREATE TEMPORARY TABLE orders_order (id int)",
        "SET ROLE pg_monitor",
    )
    TransactionTestCase("run")._fixture_teardown()  # type: ignore[attr-defined]
    assert ask("SELECT pg_backend_pid()") == pid
    assert ask("SHOW timezone") == timezone
    assert ask("SELECT current_user = session_user, current_setting('statement_timeout')") == (True, "0")
    assert ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == (0,)
    assert ask("SELECT count(*) FROM pg_listening_channels()") == (0,)
    assert ask("SELECT to_regclass('pg_temp.orders_order')") == (None,)


@pytest.mark.parametrize(
    "leave",
    [lose_the_connection, leave_a_transaction_open, leave_a_broken_transaction_open, close_in_a_transaction],
)
def test_a_connection_that_a_test_left_unusable_is_made_anew(transactional_db: None, leave: Callable[[], None]) -> None:
    ask("SELECT 1")
    leave()
    make_session_new()
    assert not connection.in_atomic_block
    assert connection.get_autocommit()
    assert ask("SELECT 1") == (1,)


class Unstoppable(subprocess.Popen[bytes]):
    def poll(self) -> int | None:
        raise PermissionError("not yours")


def test_all_processes_are_stopped_although_one_cannot_be(transactional_db: None, tmp_path: Path) -> None:
    asleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    unstoppable = Unstoppable(["true"])
    unstoppable.wait()
    with ExitStack() as stack:
        processes = stack.enter_context(processes_in(tmp_path))
        first = processes.run(asleep)
        processes.started.append(unstoppable)
        last = processes.run(asleep)
        with pytest.raises(PermissionError, match="not yours"):
            stack.close()
    assert (first.poll(), last.poll()) == (-signal.SIGKILL, -signal.SIGKILL)


def test_a_forked_process_that_still_runs_when_time_is_up_is_an_error_with_its_output(processes: Processes) -> None:
    beat = processes.start("beat", "--pidfile=")
    wait_for(lambda: b"is starting" in processes.log(beat))
    with pytest.raises(TimeoutError, match=r"celery -A shop beat --pidfile= still runs after 0 s(?s:.*)is starting"):
        beat.wait(0)
    processes.kill(beat)
    assert beat.wait(0) == -signal.SIGKILL
