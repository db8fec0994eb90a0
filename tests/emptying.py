"""Tables are emptied between tests: to delete their few rows takes 4 ms, to truncate them all 70.

What kinds of things there are and who may do what with them stays: it is the code's. `migrate` has written it down, and
to do so anew takes 50 ms. The connection stays as well, with its session as new: to make one takes 15 ms, in both
processes.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.contenttypes.management import create_contenttypes
from django.db import Error, connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.db.models.signals import post_migrate
from django.test import TransactionTestCase

_STAYS = {"django_content_type", "auth_permission"}

#: A table that has grown above this is truncated, so that what was deleted does not make the next test's plans worse.
_LARGE_BYTES = 128 * 1024

#: Waits, as a truncation does, for every transaction that has to do with one of the tables.
_EMPTY = f"""
DO $$
DECLARE
    names CONSTANT regclass[] := '{{%s}}';
    large text;
BEGIN
    EXECUTE (SELECT 'LOCK TABLE ' || string_agg(name::text, ', ') FROM unnest(names) name);
    PERFORM set_config('session_replication_role', 'replica', true);
    SELECT string_agg(name::text, ', ') INTO large
        FROM unnest(names) name WHERE pg_relation_size(name) > {_LARGE_BYTES};
    IF large IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || large || ' CASCADE';
    END IF;
    EXECUTE (SELECT string_agg('DELETE FROM ' || name, '; ') FROM unnest(names) name);
END $$
"""  # noqa: S608 - a number of ours


def empty_in_the_cheaper_way() -> None:
    """Have Django's `flush`, which runs after each test that commits, do it so; to be called after `migrate`."""
    DatabaseOperations.sql_flush = _sql_flush  # type: ignore[method-assign,assignment]
    TransactionTestCase._should_reload_connections = lambda _: False  # type: ignore[attr-defined]
    TransactionTestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]
    assert post_migrate.disconnect(create_contenttypes)
    assert post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")


def make_session_new() -> None:
    """Undo what a test did to its session: settings, role, locks, temporary tables, what it listens to.

    A connection that is lost, or whose transaction is still open, is made anew.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("DISCARD ALL")  # refused inside a transaction
    except Error:
        connection.close()
        connection.connect()
    connection.ensure_timezone()


_flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def _fixture_teardown(self: TransactionTestCase) -> None:
    """Flush in a new session. A test in a transaction (`db`) rolls back instead: all but a lock of the session goes."""
    make_session_new()
    _flush(self)


def _sql_flush(self: DatabaseOperations, _style: Any, tables: Sequence[str], **_: Any) -> list[str]:
    """Return what empties the tables; sequences go on where they are.

    Transaction: `flush` opens one.
    """
    emptied = [self.quote_name(table) for table in tables if table not in _STAYS]
    return [_EMPTY % ",".join(emptied)] if emptied else []
