"""Reserves ids and numbers for rows that are written by hand."""

# ruff: noqa: SLF001 - `_meta` is documented API of Django

from django.db import connection
from django.db.models import Model
from psycopg.sql import SQL, Identifier, Literal


def reserve_numbers(count: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('orders_number', nextval('orders_number') + %s) - %s", [count, count])
        ((first,),) = cursor.fetchall()
        return int(first)


def reserve_ids(table: type[Model], count: int) -> int:
    """Reserve this many ids in the sequence; return the first."""
    name, column = table._meta.db_table, str(table._meta.pk.column)
    with connection.cursor() as cursor:
        cursor.execute(
            SQL("SELECT setval({0}, greatest(nextval({0}), coalesce(max({1}), 0) + 1) + {2}) - {2} FROM {3}").format(
                Literal(_sequence(name, column)), Identifier(column), Literal(count), Identifier(name)
            )
        )
        ((first,),) = cursor.fetchall()
        return int(first)


def _sequence(table: str, column: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [table, column])
        ((name,),) = cursor.fetchall()
        return str(name)
