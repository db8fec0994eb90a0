"""Saving many rows in one statement.

Django's `bulk_update` builds a CASE per row and column, which costs more processor time than the steps themselves.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connection, models


def update_all(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """Write the named fields of rows that exist, in one statement.

    Transaction: a single statement; the caller has locked the rows.
    """
    if not rows:
        return
    meta = rows[0]._meta  # noqa: SLF001 - Django's documented API
    columns: list[models.Field[Any, Any]] = [meta.pk, *(meta.get_field(name) for name in fields)]  # type: ignore[list-item]
    quote = connection.ops.quote_name
    names = [quote(str(column.column)) for column in columns]
    arrays = [f"%s::{column.rel_db_type(connection)}[]" for column in columns]
    values = [[column.get_db_prep_save(getattr(row, column.attname), connection) for row in rows] for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(meta.db_table)} AS stored SET {', '.join(f'{name} = new.{name}' for name in names[1:])}"  # noqa: S608
            f" FROM unnest({', '.join(arrays)}) AS new ({', '.join(names)}) WHERE stored.{names[0]} = new.{names[0]}",
            values,
        )
