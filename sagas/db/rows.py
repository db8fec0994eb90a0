"""Writing many rows in one statement, where hundreds are written at a time.

Django's `bulk_update` builds a CASE per row and column, its `bulk_create` passes each value through its field, and
psycopg writes arrays element by element: each costs more processor time than the steps themselves. Here a column is one
array literal, which PostgreSQL unnests.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models


def array(values: Iterable[Any]) -> str:
    """Return PostgreSQL's literal of an array; cast it: `%s::uuid[]`.

    Takes the types of this project's columns: text, numbers, booleans, ids, moments, JSON (mappings and lists) and
    None.
    """
    return f"{{{','.join(['NULL' if value is None else _element(value) for value in values])}}}"


def _element(value: Any) -> str:
    if isinstance(value, str):
        return f'"{_escaped(value)}"' if '"' in value or "\\" in value else f'"{value}"'
    if isinstance(value, dict | list):
        return f'"{_escaped(json.dumps(value, cls=DjangoJSONEncoder))}"'
    if isinstance(value, datetime):
        return f'"{value.isoformat()}"'
    return str(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def insert_all(rows: Sequence[models.Model]) -> None:
    """Write new rows of one model, in one statement, and read back the primary keys that the database makes.

    Transaction: a single statement.

    Raises:
        django.db.IntegrityError: one of them violates a constraint; none is written.
    """
    if not rows:
        return
    statement, params = _insert(rows)
    pk = _pk(rows[0])
    with connection.cursor() as cursor:
        if pk.get_internal_type() != "BigAutoField":
            cursor.execute(statement, params)
            return
        cursor.execute(f"{statement} RETURNING {_quoted(pk.column)}", params)
        for row, (key,) in zip(rows, cursor.fetchall(), strict=True):
            row.pk = key


def insert_missing(rows: Sequence[models.Model], *, unique: Sequence[str] = ()) -> set[Any]:
    """Write new rows of one model, in one statement; return the primary keys of the rows that were written.

    A row is left out if a stored row has the same values in the columns `unique`; without `unique`, if it violates any
    unique constraint.

    Transaction: a single statement; it waits for other transactions that write the same value.

    Raises:
        django.db.IntegrityError: one of them violates another constraint; none is written.
    """
    if not rows:
        return set()
    statement, params = _insert(rows)
    columns, pk = f"({', '.join(map(_quoted, unique))})" if unique else "", _quoted(_pk(rows[0]).column)
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} ON CONFLICT {columns} DO NOTHING RETURNING {pk}", params)
        return {key for (key,) in cursor.fetchall()}


def _pk(row: models.Model) -> Any:
    return row._meta.pk  # noqa: SLF001 - Django's documented API


def _insert(rows: Sequence[models.Model]) -> tuple[str, list[str]]:
    table, columns = _table(rows[0])
    source = _Source(rows, [column for column in columns if column.get_internal_type() != "BigAutoField"])
    return f"INSERT INTO {table} ({source.names}) SELECT {source.expressions} FROM {source.sql}", source.params  # noqa: S608


def update_all(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """Write the named fields of rows that exist, in one statement.

    Transaction: a single statement; the caller has locked the rows.
    """
    update_together((rows, fields))


def update_together(*changes: tuple[Sequence[models.Model], Sequence[str]]) -> None:
    """Write the named fields of rows of several models, in one statement.

    Transaction: a single statement; the caller has locked the rows.
    """
    updates = [_update(rows, fields) for rows, fields in changes if rows]
    if not updates:
        return
    *before, last = [statement for statement, _ in updates]
    named = ", ".join(f"changed_{place} AS ({statement})" for place, statement in enumerate(before))
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {named} {last}" if before else last, [param for _, params in updates for param in params])


def _update(rows: Sequence[models.Model], fields: Sequence[str]) -> tuple[str, list[str]]:
    table, columns = _table(rows[0])
    pk = next(column for column in columns if column.primary_key)
    source = _Source(rows, [column for column in columns if column.name in fields], key=pk)
    changed = ", ".join(f"{name} = {value}" for name, value in source.values.items())
    return (
        f"UPDATE {table} AS stored SET {changed} FROM {source.sql} WHERE stored.{_quoted(pk.column)} = new.row_key",  # noqa: S608
        source.params,
    )


def insert_for_each(
    source: str,
    params: Sequence[str],
    templates: Sequence[models.Model],
    computed: Mapping[str, str],
) -> list[Any]:
    """Write `templates` once for each row of `source`, in one statement; return the primary keys of the new rows.

    Rows that would violate a unique constraint are left out.

    Transaction: a single statement.

    Args:
        source: an SQL source of rows, `unnest(%s::uuid[]) AS new (id)`, in the order in which they are to be written.
        params: its arrays.
        templates: rows of one model, not saved.
        computed: the columns that come from `source` or from both, as SQL expressions; `template` is the name of the
            other.
    """
    table, columns = _table(templates[0])
    given = [
        column for column in columns if column.column not in computed and column.get_internal_type() != "BigAutoField"
    ]
    template = _Source(templates, given, name="template", read=" ".join(computed.values()))
    pk = next(_quoted(column.column) for column in columns if column.primary_key)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(map(_quoted, computed))}, {template.names})"  # noqa: S608
            f" SELECT {', '.join(computed.values())}, {template.expressions} FROM {source} CROSS JOIN {template.sql}"
            f" ON CONFLICT DO NOTHING RETURNING {pk}",
            [*template.constants, *params, *template.arrays],
        )
        return [key for (key,) in cursor.fetchall()]


def _table(row: models.Model) -> tuple[str, "Columns"]:
    meta = row._meta  # noqa: SLF001 - Django's documented API
    return _quoted(meta.db_table), list(meta.concrete_fields)


class _Source:
    """Rows as a source to select from, `new`, with an array for each column whose values differ.

    Args:
        read: SQL expressions; the columns that they read from the source have an array in any case.

    Attributes:
        values: the SQL expression of each column, by its quoted name: one of `new`, or a constant.
        constants, arrays: the parameters of `values` and of `sql`.
    """

    def __init__(
        self, rows: Sequence[models.Model], columns: "Columns", *, name: str = "new", key: Any = None, read: str = ""
    ) -> None:
        self.values: dict[str, str] = {}
        self.constants: list[str] = []
        self.arrays: list[str] = []
        unnested: dict[str, str] = {}
        if key is not None:
            unnested["row_key"] = self._array(key, [row.pk for row in rows])
        for column in columns:
            quoted = _quoted(column.column)
            given = [getattr(row, column.attname) for row in rows]
            if unnested and f"{name}.{column.column}" not in read and _are_the_same(given):
                self.values[quoted] = f"({_cast(column)})[1]"
                self.constants.append(array(given[:1]))
            else:
                self.values[quoted] = f"{name}.{quoted}"
                unnested[quoted] = self._array(column, given)
        self.sql = f"unnest({', '.join(unnested.values())}) AS {name} ({', '.join(unnested)})"

    def _array(self, column: "models.Field[Any, Any]", values: Sequence[Any]) -> str:
        self.arrays.append(array(values))
        return _cast(column)

    @property
    def names(self) -> str:
        return ", ".join(self.values)

    @property
    def expressions(self) -> str:
        return ", ".join(self.values.values())

    @property
    def params(self) -> list[str]:
        return [*self.constants, *self.arrays]


def _are_the_same(values: Sequence[Any]) -> bool:
    first = values[0]
    if not all(value == first for value in values):
        return False
    # To Python {"a": 1} equals {"a": True}, which is other JSON.
    return not first or not isinstance(first, dict | list) or len({repr(value) for value in values}) == 1


Columns = Sequence["models.Field[Any, Any]"]


@cache
def _cast(column: "models.Field[Any, Any]") -> str:
    return f"%s::{column.rel_db_type(connection)}[]"


@cache
def _quoted(name: str | None) -> str:
    return connection.ops.quote_name(str(name))
