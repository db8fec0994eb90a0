"""Reads changes of tables from the write-ahead log: writes the audit trail, and calls what depends on a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection

from ..core import registry
from ..db.rows import array
from .capture import Capture, Change, ChangeKind, Portion
from .pgoutput import UNCHANGED, Values
from .slots import Publication, Slot

logger = structlog.get_logger(__name__)

_EVENTS = "sagas_event"
#: Django's history: the admin adds an entry in the transaction of each change, with the user.
_HISTORY = "django_admin_log"
#: How long the reader waits for changes before it makes failed calls again.
_TURN_SECONDS = 1.0


def slot(name: str) -> Slot:
    """Return a slot for the changes of watched tables, and for the types of new events."""
    tables = dict.fromkeys(sorted({*registry.audited(), *registry.on_change()}), ())
    return Slot(
        name=name,
        publications=(
            Publication(name=name, tables=tables),
            # Its own publication, or the slot would also have an update of each event, for its number.
            Publication(name=f"{name}_events", tables=_noted(), actions="insert"),
        ),
    )


def _noted() -> dict[str, tuple[str, ...]]:
    """Return the tables whose changes are not kept, but noted at the other changes of the same transaction."""
    history = {_HISTORY: ("id", "user_id")} if apps.is_installed("django.contrib.admin") else {}
    return {_EVENTS: ("type",), **history}


class Watcher:
    """Handles each portion: first the calls, for a cache is wrong until then; then the audit trail."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        #: Tables whose call is due. All of them at first: changes from before this process are unknown.
        self._to_call = set(registry.on_change())
        #: For a transaction that comes in several portions: its events so far, and its entry of Django's history.
        self._events: list[str] = []
        self._entry: Mapping[str, Any] = {}
        if capture.is_new:
            _note_beginning()

    def work(self) -> None:
        """Receive portions for a second at most, handle them, and confirm them."""
        portions = self._capture.take(0.0 if self._to_call else _TURN_SECONDS)
        changed = {change.table for portion in portions for change in portion.changes}
        self._to_call |= changed & registry.on_change().keys()
        self._call()
        self._keep(portions)
        self._capture.confirm(self._capture.position)

    def _call(self) -> None:
        for table in sorted(self._to_call):
            try:
                registry.on_change()[table]()
                self._to_call.discard(table)
            except Exception as error:  # noqa: BLE001 - the trail goes on; the call is made again
                logger.warning("call_on_change_failed", table=table, error=str(error))

    def _keep(self, portions: Sequence[Portion]) -> None:
        rows: list[tuple[Any, ...]] = []
        for portion in portions:
            for change in portion.changes:
                if change.table == _EVENTS and (emitted := str(change.new["type"])) not in self._events:
                    self._events.append(emitted)
                if change.table == _HISTORY:
                    self._entry = change.new
            counted = [change for change in portion.changes if _counts(change)]
            by = _user_name(self._entry) if counted else ""
            rows.extend((*_row(portion, change, self._events), by, self._entry.get("id")) for change in counted)
            if portion.end is not None:
                self._events, self._entry = [], {}
        _write(rows)


def _user_name(entry: Mapping[str, Any]) -> str:
    """Return the name of the user of an entry of Django's history; empty without one, or if the user is gone."""
    if not entry:
        return ""
    users: Any = get_user_model().objects
    user = users.filter(pk=entry["user_id"]).first()
    return "" if user is None else str(user.get_username())


def _counts(change: Change) -> bool:
    """Say whether it changes an audited row: an UPDATE may set the same values."""
    if change.table not in registry.audited():
        return False
    return change.action != ChangeKind.UPDATE or not change.old or bool(_changed(change))


def _changed(change: Change) -> list[str]:
    """Return the columns whose values differ."""
    return [name for name, value in change.new.items() if value is not UNCHANGED and value != change.old.get(name)]


def _row(portion: Portion, change: Change, events: Sequence[str]) -> tuple[Any, ...]:
    audited = registry.audited()[change.table]
    before, after = _plain(change.old), _plain(change.new)
    whole = before | after
    if change.action == ChangeKind.UPDATE and change.old:
        changed = _changed(change)
        before, after = ({name: values[name] for name in changed} for values in (before, after))
    return (
        portion.lsn,
        change.number,
        portion.xid,
        portion.committed_at,
        change.table,
        (whole.get(audited.key) or "")[:255],
        (whole.get(audited.name) or "")[:255],
        str(change.action),
        before,
        after,
        list(events),
    )


def _plain(values: Values) -> dict[str, str | None]:
    return {name: value for name, value in values.items() if value is not UNCHANGED}


_WRITE = """
    INSERT INTO sagas_auditrecord (lsn, number, transaction_id, committed_at, "table", "row", name, action, before,
        after, events, by, log_entry)
    SELECT * FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::timestamptz[], %s::text[], %s::text[], %s::text[],
        %s::text[], %s::jsonb[], %s::jsonb[], %s::jsonb[], %s::text[], %s::bigint[])
    ON CONFLICT DO NOTHING
    """


def _write(rows: Sequence[tuple[Any, ...]]) -> None:
    """Add records to the trail, but those it has already.

    Transaction: a single statement.
    Idempotent: by the change's place in the write-ahead log.
    """
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, [array(column) for column in zip(*rows, strict=True)])


def _note_beginning() -> None:
    """Note that the trail begins here, perhaps anew: earlier changes are not in it."""
    with connection.cursor() as cursor:
        cursor.execute(_BEGINNING)


_BEGINNING = """
    INSERT INTO sagas_auditrecord (lsn, number, transaction_id, committed_at, "table", "row", name, action, before,
        after, events)
    VALUES (pg_current_wal_lsn() - '0/0', 0, 0, clock_timestamp(), '', '', '', 'begin', '{}', '{}', '[]')
    """
