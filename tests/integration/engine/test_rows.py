"""Many rows in one statement say the same as row by row."""

from collections.abc import Callable

import pytest
from django.db import connection

from sagas.db.rows import update_all
from sagas.log.relay import relay_events
from sagas.models import Run
from sagas.testing import MovableClock

from .conftest import Ask, Script


def test_every_column_comes_back_as_it_was_written(
    ask: Ask, script: Script, clock: MovableClock, django_assert_num_queries: Callable[..., object]
) -> None:
    for key in "abc":
        ask(key)
    relay_events(now=clock(), limit=10)
    runs = list(Run.objects.order_by("key"))
    runs[0].results, runs[0].failure, runs[0].due_at = {"ä'\"{},\\": [1, None, "NULL"]}, {}, None
    runs[0].status, runs[0].finished_at = "completed", clock()
    runs[1].results, runs[1].failure, runs[1].resends = {}, {"step": "x, y", "nested": {"a": "}"}}, 7
    fields = [field.name for field in Run._meta.concrete_fields if not field.primary_key]
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        update_all(runs, fields)
    stored = list(Run.objects.order_by("key"))
    assert [[getattr(run, name) for name in fields] for run in stored] == [
        [getattr(run, name) for name in fields] for run in runs
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT failure IS NULL, jsonb_typeof(results) FROM sagas_run WHERE key = 'c'")
        assert cursor.fetchone() == (True, "object")


@pytest.mark.django_db
def test_nothing_to_save_is_no_statement(django_assert_num_queries: Callable[..., object]) -> None:
    with django_assert_num_queries(0):  # type: ignore[attr-defined]
        update_all([], ["status"])
