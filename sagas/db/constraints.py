"""Deferred constraints, checked before the commit."""

from django.db import connection


def check_constraints() -> None:
    """Make deferred constraints fail in the work that violates them, not at the commit of all work.

    Transaction: requires one.

    Raises:
        IntegrityError: a constraint is violated.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
