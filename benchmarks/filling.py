"""Fills a database with years of finished orders, so that pages, queries and turns can be measured with them.

A few model orders are really placed and driven to their end, one of each kind. Then each of their rows is written
repeatedly by `INSERT … SELECT`, as a pattern in which ids, names and times are replaced: so every column has the values
that the engine writes, also new columns.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta

from django.db import connection, transaction

from sagas.db import clock
from sagas.log import followers
from sagas.models import Event, Follower

from .filling_models import KINDS, placed_model, rows_of, shelves_and_accounts, with_events
from .filling_sql import (
    EVERY,
    Piece,
    Plan,
    id_replacements,
    insert_statement,
    reference_replacements,
    story_statement,
    word_replacements,
)

#: The newest ones are old enough for the reconciliation to have looked at them twice.
_ENDED_AGO = timedelta(minutes=10)


def fill(*, orders: int, events: int, show: Callable[[str], object] = print) -> None:
    """Add so many finished orders with so many events; then VACUUM ANALYZE.

    For a shop at rest: sequences are advanced by hand. An order has four to seven real events; the rest up to `events`
    are copies of the last one, "message sent".

    Transaction: refuses one; opens one a piece.

    Raises:
        ValueError: there are too few events for so many orders.
    """
    begin = clock.now() - _ENDED_AGO - orders * EVERY
    accounts = shelves_and_accounts()
    models = [rows_of(placed_model(kind, begin)) for kind in KINDS]
    most = max(len(rows[Event]) for rows in models)
    if events < orders * most:
        raise ValueError(f"an order tells of up to {most} events: {orders * most} at least, not {events}")
    plan = Plan(orders=orders, events=events, begin=begin, accounts=accounts, models=models)
    pieces = list(plan.pieces())
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in as_completed([pool.submit(_write, plan, piece) for piece in pieces]):
            done += future.result()
            show(f"{done:,} of {orders:,} orders")
    _settle(accounts)
    # The filled events are done: no follower gets a delivery of them.
    Follower.objects.update(position=followers.head())
    show("vacuum, analyze")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _write(plan: Plan, piece: Piece) -> int:
    """Write one piece in a transaction of its own; return how many orders it had."""
    least = 0
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")
            for kind, model in zip(KINDS, plan.models, strict=True):
                rows = with_events(model, piece.events)
                cursor.execute(story_statement(plan, piece, rows, shares=range(least, least + kind.share)))
                words = word_replacements(rows) | reference_replacements(plan, rows)
                for table, found in rows.items():
                    if found:
                        cursor.execute(insert_statement(table, found, id_replacements(plan, rows), words))
                cursor.execute("DROP TABLE story")
                least += kind.share
    finally:
        connection.close()
    return piece.end - piece.first


def _settle(accounts: range) -> None:
    """Write the sum of the open holds to each account."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_creditaccount AS account SET held_minor = held.minor
            FROM (
                SELECT account_id, sum(amount_minor) AS minor
                FROM payments_credithold WHERE status = 'held' GROUP BY account_id
            ) AS held
            WHERE account.id = held.account_id AND account.id BETWEEN %s AND %s
            """,
            [accounts.start, accounts.stop - 1],
        )
