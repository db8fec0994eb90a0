"""Publications say which changes are sent, slots keep the log until it was read; both are made when missing."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import ProgrammingError, connection, transaction
from django.db.utils import OperationalError

from .errors import CannotFollow, LogIsNotLogical, MayNotReplicate, NoSlotLeft, SlotIsLost, SlotOfAnotherDatabase

#: SQLSTATE: the server's slots are all taken; the object exists already.
_LIMIT_REACHED, _EXISTS = "53400", ("42710", "23505")

_SERVER = (
    "SELECT current_setting('wal_level'), current_user, rolreplication OR rolsuper FROM pg_roles"
    " WHERE rolname = current_user"
)


@dataclass(frozen=True, kw_only=True)
class Publication:
    """The changes that are sent.

    Attributes:
        tables: the tables whose changes are sent, each with the columns that are sent; no columns means all.
        actions: kinds of changes, as PostgreSQL lists them.
    """

    name: str
    tables: Mapping[str, tuple[str, ...]]
    actions: str = "insert, update, delete, truncate"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in the write-ahead log, kept by the server; `name` is the server's, not the database's."""

    name: str
    publications: tuple[Publication, ...]


def prepare(slot: Slot) -> bool:
    """Make publication and slot where they are missing; say whether the slot is new.

    A new slot begins now: it waits for the end of the transactions under way, for it sends whole transactions only.

    Transaction: refuses one; a slot cannot be made in one that has written.
    Idempotent: by name.

    Raises:
        CannotFollow: it says what to do.
    """
    _check_server()
    # Before the slot, which uses its publications as they were at the time of a change.
    for publication in slot.publications:
        _publish(publication)
    return _reserve(slot)


def drop(name: str) -> bool:
    """Drop the slot; say whether it existed. Changes it had yet to send are not sent.

    Raises:
        django.db.OperationalError: a process follows it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [name]
        )
        return cursor.fetchone() is not None


def _check_server() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SERVER)
        level, role, may_replicate = cursor.fetchone() or ("", "", False)
    if level != "logical":
        raise LogIsNotLogical(level)
    if not may_replicate:
        raise MayNotReplicate(role)


def _publish(publication: Publication) -> None:
    tables = ", ".join(_listed(name, columns) for name, columns in publication.tables.items())
    name = _quoted(publication.name)
    with transaction.atomic(), connection.cursor() as cursor:
        found = _published(publication.name)
        if found is None:
            try:
                with transaction.atomic():
                    cursor.execute(
                        f"CREATE PUBLICATION {name} FOR TABLE {tables} WITH (publish = '{_actions(publication)}')"
                    )
            except ProgrammingError as error:
                if _sqlstate(error) not in _EXISTS:
                    raise CannotFollow(f"The publication {name} cannot be made: {error}") from error
        elif found != _wanted(publication):
            cursor.execute(f"ALTER PUBLICATION {name} SET TABLE {tables}")
            cursor.execute(f"ALTER PUBLICATION {name} SET (publish = '{_actions(publication)}')")


def _published(name: str) -> tuple[dict[str, set[str]], set[str]] | None:
    """Return the columns that are sent of each table, and the kinds of changes; None without a publication."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = %s", [name]
        )
        found = cursor.fetchone()
        if found is None:
            return None
        cursor.execute("SELECT tablename, attnames::text[] FROM pg_publication_tables WHERE pubname = %s", [name])
        tables = {table: set(columns) for table, columns in cursor.fetchall()}
    actions = ("insert", "update", "delete", "truncate")
    return tables, {action for action, is_sent in zip(actions, found, strict=True) if is_sent}


def _wanted(publication: Publication) -> tuple[dict[str, set[str]], set[str]]:
    with connection.cursor() as cursor:
        tables = {
            table: set(columns)
            or {column.name for column in connection.introspection.get_table_description(cursor, table)}
            for table, columns in publication.tables.items()
        }
    return tables, set(publication.actions.split(", "))


def _reserve(slot: Slot) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            # As JSON, because older servers lack that column.
            "SELECT database, current_database(), wal_status, to_jsonb(slot) ->> 'invalidation_reason'"
            " FROM pg_replication_slots AS slot WHERE slot_name = %s",
            [slot.name],
        )
        found = cursor.fetchone()
        if found is not None:
            of, ours, status, reason = found
            if of != ours:
                raise SlotOfAnotherDatabase(slot.name, of)
            if reason or status == "lost":
                raise SlotIsLost(slot.name, reason or status)
            return False
        try:
            cursor.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot.name])
        except (OperationalError, ProgrammingError) as error:
            if _sqlstate(error) == _LIMIT_REACHED:
                raise NoSlotLeft(str(error).strip().partition("\n")[0]) from error
            if _sqlstate(error) in _EXISTS:  # made by another process meanwhile
                return False
            raise
    return True


def _listed(table: str, columns: tuple[str, ...]) -> str:
    return _quoted(table) + (f" ({', '.join(map(_quoted, columns))})" if columns else "")


def _actions(publication: Publication) -> str:
    return publication.actions


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)
