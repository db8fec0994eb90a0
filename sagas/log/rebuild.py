"""Builds a read model anew from the log while the old copy serves.

The new copy is in a schema of its own, so that the same statements use its tables. In the end both copies are compared
and swapped, in one transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connection, models, transaction

from ..core.read_model import Difference, ReadModel, Store
from ..db.storable import message_of
from ..models import Follower
from . import followers
from .read_models import PORTION, advance

#: Lock timeout of the swap while the old copy is being read; new readers wait behind the swap meanwhile.
_MAX_SECONDS_FOR_READERS = 10


@dataclass(kw_only=True)
class Rebuilt:
    """The outcome of a rebuild.

    Attributes:
        position: both copies contain the log up to it.
        swapped: the new copy serves now; if false, the copies were only compared.
        differences: by table, how many rows only the old copy had, and how many only the new one has.
    """

    position: int
    swapped: bool
    differences: dict[str, Difference] = field(default_factory=dict)


def start(model: ReadModel, *, now: datetime) -> tuple[int, int]:
    """Make empty copies, unless a rebuild is under way; return its position, and that of the old copy.

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
                    model.store.create_shadow()
    return shadow.position, Follower.objects.get(name=model.name).position


def go_on(model: ReadModel, *, limit: int = PORTION) -> int | None:
    """Apply the next portion to the new copy; return its position, or None once it has caught up with the old copy.

    Transaction: opens one.

    Raises:
        RebuildStoppedError: an event cannot be applied; the new copy stays.
    """
    with transaction.atomic():
        shadow = Follower.objects.locked().get(name=model.shadow_name)
        end = Follower.objects.get(name=model.name).position
        with _in_schema(model):
            advance(model, shadow, end, limit, shadow=True)
        stopped, position = shadow.error, shadow.position
    if stopped:
        raise RebuildStoppedError(model.name, stopped)
    return None if position >= end else position


def finish(model: ReadModel, *, swap: bool = True) -> Rebuilt:
    """Bring both copies to the same position, compare them, and swap them.

    The old copy gets no event meanwhile, and can be read until the swap. The swap waits ten seconds at most for readers
    of the old copy: all other readers wait behind this transaction.

    Transaction: opens one; all of it, or nothing.

    Args:
        swap: otherwise the copies are only compared, and the new one is dropped.

    Raises:
        RebuildStoppedError: an event cannot be applied.
        django.db.OperationalError: the old copy is read for longer than ten seconds; a later call continues.
    """
    with transaction.atomic():
        old = Follower.objects.locked().get(name=model.name)
        shadow = Follower.objects.locked().get(name=model.shadow_name)
        with _in_schema(model):
            while advance(model, shadow, old.position, PORTION, shadow=True):
                pass
        if shadow.error:
            raise RebuildStoppedError(model.name, shadow.error)
        found = Rebuilt(position=shadow.position, swapped=swap, differences=_differences(model))
        if swap:
            _swap(model)
            old.position, old.error = shadow.position, ""
            old.save(update_fields=["position", "error"])
            _forget(model)
        else:
            drop(model)
    return found


def drop(model: ReadModel) -> None:
    """Drop the new copy, if there is one.

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
    """The store of a read model outside PostgreSQL did not answer; the serving copy is not changed."""

    def __init__(self, name: str, error: str) -> None:
        super().__init__(f"The store of {name} is away ({error}). What serves goes on; rebuild again once it is back.")


class RebuildStoppedError(Exception):
    """This code cannot apply an event; the new copy stays, and a later call continues."""

    def __init__(self, name: str, error: str) -> None:
        super().__init__(
            f"{name} stopped {error}. Deploy code that takes it in, and rebuild again: it goes on from here."
        )


@contextmanager
def _answering(name: str) -> Iterator[None]:
    """Turn an error of the store inside into one that names it.

    Raises:
        StoreAwayError: the store raised an exception.
    """
    try:
        yield
    except Exception as error:
        raise StoreAwayError(name, message_of(error)) from error


@contextmanager
def _in_schema(model: ReadModel) -> Iterator[None]:
    """Make statements use the new copies of the read model's tables, and all other tables as usual.

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
    """Count the rows that only the old copy has, or only the new one; numbers of a sequence are not compared."""
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
        # After the commit: it is idempotent, and without it the old copy continues to serve.
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
