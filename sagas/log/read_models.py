"""Read models (CQRS): tables shaped for a question, which follow the event log with a stored position.

In PostgreSQL what an event changes and the position behind it commit together: exactly once. A read model that lives
elsewhere keeps its own position there, and takes events again that it may have seen.

A rebuild makes a second copy from the log while the old one serves, in a schema of its own: the same statements find
the other tables. Then both are compared and change places, in one transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection, models, transaction

from ..core import registry
from ..core.errors import TransactionRefusedError
from ..core.read_model import Difference, ReadModel, Recorded, Store
from ..db.storable import message_of
from ..models import Event, Follower
from . import followers

logger = structlog.get_logger(__name__)

#: Events of one transaction.
PORTION = 2000
#: How long those who read the old copy are waited for, and everybody who comes meanwhile with us.
_MAX_SECONDS_FOR_READERS = 10


# Following -----------------------------------------------------------------------------------------------------------


def follow(*, now: datetime, limit: int = PORTION) -> bool:
    """Take each read model a portion of the log further; say whether there is more to do for one.

    Any number of processes may follow: each read model is taken on by one. One that cannot take in an event stops in
    front of it, says so, and goes on by itself once there is code that can.

    Transaction: refuses one; opens one a read model.
    Idempotent: by position.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("read models commit their own transactions")
    known, head, more = {model.name: model for model in registry.read_models()}, followers.head(), False
    at = dict(Follower.objects.filter(name__in=known, paused_at=None).values_list("name", "position"))
    for name, position in at.items():
        # One that is elsewhere may have lost what it held.
        if position < head or known[name].store is not None:
            more = _take_on(known[name], head, limit, now) or more
    return more


def _take_on(model: ReadModel, head: int, limit: int, now: datetime) -> bool:
    with transaction.atomic():
        mine = Follower.objects.claimed().filter(name=model.name, paused_at=None).first()
        if mine is None or not _is_where_its_store_is(model, mine):
            return False
        return _advance(model, mine, head, limit, now)


def _is_where_its_store_is(model: ReadModel, follower: Follower) -> bool:
    """Go back to where the store is, which may have lost something; say whether it answers."""
    if model.store is None:
        return True
    try:
        follower.position = min(follower.position, model.store.position(shadow=False))
    except Exception as error:  # noqa: BLE001 - whatever it raises while it is away
        logger.warning("store_away", read_model=model.name, error=str(error))
        follower.error = f"its store is away: {message_of(error)}"[:1000]
        follower.save(update_fields=["error"])
        return False
    return True


def _advance(
    model: ReadModel, follower: Follower, end: int, limit: int, now: datetime, *, shadow: bool = False
) -> bool:
    """Take in the next portion up to `end`; say whether that left something that can be taken in.

    Transaction: requires the one that has locked the follower.
    """
    if follower.position >= end:
        if follower.error:  # a store that was away is back
            follower.error = ""
            follower.save(update_fields=["error"])
        return False
    upto = min(end, follower.position + limit)
    while not _taken_in(model, follower, upto, shadow=shadow):
        if upto - follower.position == 1:
            follower.save(update_fields=["error", "position"])
            return False
        # One of them cannot be taken in; those before it can.
        upto = follower.position + (upto - follower.position) // 2
    follower.position, follower.moved_at, follower.error = upto, now, ""
    follower.save(update_fields=["position", "moved_at", "error"])
    return upto < end


def _taken_in(model: ReadModel, follower: Follower, upto: int, *, shadow: bool) -> bool:
    rows = Event.objects.filter(
        log_position__gt=follower.position, log_position__lte=upto, type__in=model.types
    ).order_by("log_position")
    try:
        with transaction.atomic():
            recorded = [_recorded(model, row) for row in rows]
            if model.store is not None:
                model.store.apply(recorded, position=upto, shadow=shadow)
            elif recorded:
                model.apply(recorded)
    except (OperationalError, InterfaceError):
        raise  # the database is in trouble, not the event
    except Exception as error:
        if upto - follower.position == 1:
            logger.exception("read_model_stopped", read_model=model.name, log_position=upto)
        follower.error = f"at {upto}: {type(error).__name__}: {message_of(error)}"[:1000]
        return False
    return True


def _recorded(model: ReadModel, row: Event) -> Recorded:
    assert row.log_position is not None  # noqa: S101 - they are read by it
    return Recorded(
        event=model.types[row.type].read(row.data, version=row.version),
        event_id=row.id,
        key=row.key,
        log_position=row.log_position,
        occurred_at=row.occurred_at,
    )


# Rebuilding ----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Rebuilt:
    """What came of a rebuild: by table, how many rows only the old copy had, and how many only the new one has."""

    position: int
    swapped: bool
    differences: dict[str, Difference] = field(default_factory=dict)


def begin_rebuild(model: ReadModel, *, now: datetime) -> tuple[int, int]:
    """Make empty copies, unless a rebuild was begun before; return how far it is, and how far it has to come.

    Transaction: opens one.
    Idempotent: by name.
    """
    with transaction.atomic():
        followers.create_missing(now=now)
        shadow, is_new = Follower.objects.get_or_create(
            name=model.shadow_name, defaults={"position": 0, "began_at": now}
        )
        if is_new:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA IF EXISTS {model.schema} CASCADE")
                cursor.execute(f"CREATE SCHEMA {model.schema}")
            with _in_schema(model), connection.schema_editor() as editor:
                for table in model.tables:
                    editor.create_model(table)
            if model.store is not None:
                with _answering(model.name):
                    model.store.begin()
    return shadow.position, Follower.objects.get(name=model.name).position


def rebuild(model: ReadModel, *, now: datetime, limit: int = PORTION) -> int | None:
    """Take the new copy a portion further; return how far it is, or None once it has caught up with the old one.

    Transaction: opens one.

    Raises:
        RebuildStoppedError: an event cannot be taken in; what was built stays.
    """
    with transaction.atomic():
        shadow = Follower.objects.locked().get(name=model.shadow_name)
        end = Follower.objects.get(name=model.name).position
        with _in_schema(model):
            _advance(model, shadow, end, limit, now, shadow=True)
        stopped, position = shadow.error, shadow.position
    if stopped:
        raise RebuildStoppedError(model.name, stopped)
    return None if position >= end else position


def finish_rebuild(model: ReadModel, *, now: datetime, swap: bool = True) -> Rebuilt:
    """Bring both copies to the same position, compare them, and let them change places.

    The read model stands still meanwhile, its readers do not: they wait for the moment in which the tables change. Who
    reads for long is not waited for, for everybody else would stand in line behind us.

    Transaction: opens one; all of it, or nothing.

    Args:
        swap: otherwise they are only compared, and the new copy goes.

    Raises:
        RebuildStoppedError: an event cannot be taken in.
        django.db.OperationalError: somebody reads the old copy for longer than ten seconds; a later call goes on.
    """
    with transaction.atomic():
        old = Follower.objects.locked().get(name=model.name)
        shadow = Follower.objects.locked().get(name=model.shadow_name)
        with _in_schema(model):
            while _advance(model, shadow, old.position, PORTION, now, shadow=True):
                pass
        if shadow.error:
            raise RebuildStoppedError(model.name, shadow.error)
        found = Rebuilt(position=shadow.position, swapped=swap, differences=_differences(model))
        if swap:
            _swap(model)
            old.position, old.error, old.moved_at = shadow.position, "", now
            old.save(update_fields=["position", "error", "moved_at"])
            _forget(model)
        else:
            drop_rebuild(model)
    return found


def drop_rebuild(model: ReadModel) -> None:
    """Forget the new copy, as far as there is one.

    Transaction: opens one.
    """
    with transaction.atomic():
        _forget(model)
        if model.store is not None:
            with _answering(model.name):
                model.store.drop()


def _forget(model: ReadModel) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {model.schema} CASCADE")
    Follower.objects.filter(name=model.shadow_name).delete()


class StoreAwayError(Exception):
    """What is not in PostgreSQL did not answer; the copy that serves goes on."""

    def __init__(self, name: str, error: str) -> None:
        super().__init__(f"The store of {name} is away ({error}). What serves goes on; rebuild again once it is back.")


class RebuildStoppedError(Exception):
    """An event cannot be taken in by this code; what was built stays, and a later call goes on."""

    def __init__(self, name: str, error: str) -> None:
        super().__init__(
            f"{name} stopped {error}. Deploy code that takes it in, and rebuild again: it goes on from here."
        )


@contextmanager
def _answering(name: str) -> Iterator[None]:
    """Name the store when it is what fails inside.

    Raises:
        StoreAwayError: whatever it raised.
    """
    try:
        yield
    except Exception as error:
        raise StoreAwayError(name, message_of(error)) from error


@contextmanager
def _in_schema(model: ReadModel) -> Iterator[None]:
    """Have statements find the new copies of the tables, and everything else where it is.

    Transaction: requires one; its end ends this, too.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path')")
        (usual,) = cursor.fetchone() or ("public",)
        cursor.execute(f"SET LOCAL search_path TO {model.schema}, {usual}")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL search_path TO {usual}")


def _differences(model: ReadModel) -> dict[str, Difference]:
    if model.store is not None:
        with _answering(model.name):
            return {model.name: model.store.compare()}
    return {
        table._meta.db_table: (_missing(model, table, new=False), _missing(model, table, new=True))  # noqa: SLF001
        for table in model.tables
    }


def _missing(model: ReadModel, table: type[models.Model], *, new: bool) -> int:
    """Count the rows that only the old copy has, or only the new one; what a sequence gave out is no difference."""
    meta: Any = table._meta  # noqa: SLF001 - documented
    columns = ", ".join(
        connection.ops.quote_name(column.column)
        for column in meta.concrete_fields
        if column.get_internal_type() != "BigAutoField"
    )
    old_rows = f"SELECT {columns} FROM {meta.db_table}"  # noqa: S608
    new_rows = f"SELECT {columns} FROM {model.schema}.{meta.db_table}"  # noqa: S608
    these, those = (new_rows, old_rows) if new else (old_rows, new_rows)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({these} EXCEPT ALL {those}) AS only_here")  # noqa: S608
        (count,) = cursor.fetchone() or (0,)
        return int(count)


def _swap(model: ReadModel) -> None:
    if model.store is not None:
        # Behind the commit: done twice it does no harm, and not done, the old copy goes on.
        transaction.on_commit(partial(_swap_store, model.name, model.store))
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{_MAX_SECONDS_FOR_READERS}s'")
        for table in model.tables:
            name = table._meta.db_table  # noqa: SLF001
            cursor.execute("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = %s::regclass", [name])
            (schema,) = cursor.fetchone() or ("public",)
            cursor.execute(f"DROP TABLE {schema}.{name}")
            cursor.execute(f"ALTER TABLE {model.schema}.{name} SET SCHEMA {schema}")


def _swap_store(name: str, store: Store) -> None:
    with _answering(name):
        store.swap()
