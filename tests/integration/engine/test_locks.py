"""Advisory locks: one transaction at a time has one, and loses it with its end."""

import pytest
from django.db import connection, transaction

from sagas.db import locks
from sagas.db.locks import Lock
from sagas.db.read import one_moment

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.mark.parametrize("lock", [Lock.LOG, Lock.RECONCILIATION, "share of erp"])
def test_a_lock_another_transaction_holds_is_not_to_be_had_until_that_ends(lock: Lock | str) -> None:
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [locks._number(lock)])
            with transaction.atomic():
                assert not locks.take_if_free(lock)
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    with transaction.atomic():
        assert locks.take_if_free(lock)
        locks.take(lock)  # its own transaction may take it again


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_lock_is_waited_for_no_longer_than_said_and_the_session_keeps_its_limits(is_taken: bool) -> None:
    other = connection.copy()
    try:
        with other.cursor() as holder, connection.cursor() as cursor:
            holder.execute("BEGIN")
            if is_taken:
                holder.execute("SELECT pg_advisory_xact_lock(%s)", [locks._number("share of erp")])
            assert locks.wait_until_free("share of erp", seconds=0.05) is not is_taken
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("0",)
    finally:
        other.close()


def test_two_names_are_two_locks_and_neither_is_one_of_the_engine() -> None:
    numbers = {locks._number(lock) for lock in (Lock.LOG, Lock.RECONCILIATION, "share of a", "share of b")}
    assert len(numbers) == 4
    assert all(-(2**63) <= number < 2**63 for number in numbers)


def test_one_moment_reads_only_and_sees_no_later_commit() -> None:
    with one_moment(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
        assert cursor.fetchone() == ("repeatable read", "on")
