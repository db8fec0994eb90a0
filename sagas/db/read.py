"""Reading: rows by a statement written by hand, and several statements as of one moment.

The first statement of every message is written by hand: Django takes three times as long to build it as PostgreSQL to
answer it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import connection, models, transaction


@cache
def columns(model: type[models.Model], table: str) -> str:
    """Return the select list of a model whose table is called `table` in the statement."""
    return ", ".join(f'{table}."{field.column}"' for field in model._meta.concrete_fields)  # noqa: SLF001 - documented


def read(statement: str, params: Mapping[str, Any], *kinds: type[models.Model]) -> Iterator[tuple[Any, ...]]:
    """Yield a row of each kind for each row of a statement that selects the `columns` of these kinds, in this order.

    Transaction: a single statement.
    """
    makers = [_maker(kind) for kind in kinds]
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        for values in cursor.fetchall():
            rest, rows = values, []
            for names, converters, kind in makers:
                mine, rest = list(rest[: len(names)]), rest[len(names) :]
                for place, convert in converters:
                    mine[place] = convert(mine[place], None, connection)
                rows.append(kind.from_db(connection.alias, names, mine))
            yield tuple(rows)


@cache
def _maker(kind: type[models.Model]) -> tuple[list[str], list[tuple[int, Any]], type[models.Model]]:
    """Return the names of its fields, the converters from column to field values, and the model itself."""
    fields = kind._meta.concrete_fields  # noqa: SLF001 - documented
    converters = [
        (place, convert) for place, field in enumerate(fields) for convert in field.get_db_converters(connection)
    ]
    return [str(field.attname) for field in fields], converters, kind


@contextmanager
def one_moment() -> Iterator[None]:
    """Make all statements inside use the snapshot of the first one, so that their results are consistent.

    Transaction: opens a READ ONLY, REPEATABLE READ one; inside another one it changes nothing.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
