"""Sales by day and product: the lines of confirmed orders, by the day of the confirmation.

The day is in `TIME_ZONE`, and depends on the event only; a row stores the zone of its day.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date

from django.conf import settings
from django.db import connection

from backoffice.moments import day
from orders.events import OrderConfirmed, OrderPlaced
from sagas.core.read_model import ReadModel, Recorded
from sagas.db.rows import array
from sagas.operations import queries

from ..models import SalesOfDay

_ADD = f"""
    INSERT INTO {SalesOfDay._meta.db_table} (day, zone, sku, currency, name, orders, quantity, total_minor)
    SELECT * FROM unnest(
        %s::date[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::bigint[], %s::bigint[])
    ON CONFLICT (day, zone, sku, currency) DO UPDATE SET name = EXCLUDED.name,
        orders = {SalesOfDay._meta.db_table}.orders + EXCLUDED.orders,
        quantity = {SalesOfDay._meta.db_table}.quantity + EXCLUDED.quantity,
        total_minor = {SalesOfDay._meta.db_table}.total_minor + EXCLUDED.total_minor
    """  # noqa: S608, SLF001 - a table's name


def apply(events: Sequence[Recorded]) -> None:
    """Add the lines of confirmed orders: two statements, however many events."""
    placed = queries.latest_events([each.key for each in events], OrderPlaced)
    sold: dict[tuple[date, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    names: dict[str, str] = {}
    for each in events:
        order = placed[each.key]
        on = day(each.occurred_at)
        for sku in {line.sku for line in order.lines}:
            sold[on, sku, order.currency][0] += 1
        for line in order.lines:
            figures = sold[on, line.sku, order.currency]
            figures[1] += line.quantity
            figures[2] += line.quantity * line.unit_price_minor
            names[line.sku] = line.name
    rows = [
        (str(on), settings.TIME_ZONE, sku, currency, names[sku], *figures)
        for (on, sku, currency), figures in sorted(sold.items())
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [array(column) for column in zip(*rows, strict=True)])


sales = ReadModel("sales-by-day", events=(OrderConfirmed,), tables=(SalesOfDay,), apply=apply)
