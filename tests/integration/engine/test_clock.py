"""The one clock: the database's, read now and then and carried on by one that nobody sets."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import Error
from pytest_django import DjangoAssertNumQueries

from sagas.db import clock
from tests.conftest import ROOT, Processes
from tests.faults.conftest import clock_off_by


@pytest.fixture(autouse=True)
def _unread(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_reading", None)


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
        return row[0]


_TELL = """
import django
django.setup()
from django.utils import timezone
from sagas.db import clock
print(clock.now().isoformat(), timezone.now().isoformat())
"""


@pytest.mark.parametrize("seconds", [300, -300])
def test_a_process_whose_own_clock_is_off_tells_the_time_of_the_database(seconds: int, processes: Processes) -> None:
    before = database_time()
    told = subprocess.run(
        [sys.executable, "-c", _TELL], cwd=ROOT, env=os.environ | processes.environment() | clock_off_by(seconds),
        check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    now, own = map(datetime.fromisoformat, told.stdout.split())
    assert before < now < database_time()
    assert abs((own - now) - timedelta(seconds=seconds)) < timedelta(seconds=1)


def test_the_time_goes_on_without_asking_again(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        first = clock.now()
        time.sleep(0.05)
        last = clock.now()
    assert timedelta(seconds=0.05) <= last - first < timedelta(seconds=5)
    assert first.utcoffset() == timedelta()


def test_an_old_reading_is_renewed(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(clock, "_READ_EVERY_SECONDS", 0.01)
    old = clock._Reading(time=datetime(2001, 1, 1, tzinfo=UTC), steady=time.clock_gettime(clock._STEADY) - 1)
    monkeypatch.setattr(clock, "_reading", old)
    with django_assert_num_queries(1):
        now = clock.now()
    assert abs(now - database_time()) < timedelta(seconds=1)


def test_an_answer_that_was_long_on_its_way_is_asked_for_again(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    waits = [1.0, 0.0]

    def slowly(execute: Callable[..., Any], *what: Any) -> Any:
        answer = execute(*what)
        time.sleep(waits.pop(0))
        return answer

    with connection.execute_wrapper(slowly), django_assert_num_queries(2):
        now = clock.now()
    assert abs(now - database_time()) < timedelta(seconds=0.4)


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_asked_is_an_error_like_any() -> None:
    with transaction.atomic():
        with connection.cursor() as cursor, pytest.raises(Error):
            cursor.execute("SELECT 1/0")
        with pytest.raises(Error):
            clock.now()
        transaction.set_rollback(True)
