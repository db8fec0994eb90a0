"""The common ground of all contenders: catalogue, orders, empty tables, and exact commit times."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from redis import Redis

import embedded
from inventory import services as inventory
from orders import services as orders
from orders.events import Line, OrderPlaced
from orders.models import Order
from sagas.db import clock
from sagas.models import Event

from .processes import cpu_seconds

#: SKU, name, price in minor units.
PRODUCTS = [(f"BENCH-{number:04}", f"Product {number}", 1000 + number) for number in range(1000)]
LINES = 2
_CATALOGUE = {sku: (name, price_minor) for sku, name, price_minor in PRODUCTS}
#: More than any run asks for.
STOCK = 10**9
#: Most orders placed in one transaction, as many as the relay takes at once.
_PORTION = 500
_APPS = ("orders", "inventory", "payments", "notifications", "sagas")
#: Kept between measurements; followers are set to the end of the log.
_KEPT = ("orders_product", "inventory_stockitem", "payments_creditaccount", "sagas_follower")

#: An order as its event: the input of every contender.
Placed = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The state of the tables: number of rows of each, and pieces on hand of all our products."""

    rows: dict[str, int]
    on_hand: int


def make() -> None:
    """Migrate the database and fill the stock."""
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        # The measuring connection is excluded from the servers' CPU time; its parallel workers could not be.
        cursor.execute("SET max_parallel_workers_per_gather = 0")
    orders.add_products(PRODUCTS, currency=settings.CURRENCY)
    inventory.receive({sku: STOCK for sku, _, _ in PRODUCTS})


def requests(count: int, *, seed: str) -> list[orders.OrderRequest]:
    """Return the same orders for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    skus = list(_CATALOGUE)
    return [
        orders.OrderRequest(
            customer_email=f"customer-{number}@example.com",
            customer_name=f"Customer {number}",
            payment_method="tok_visa",
            lines=[orders.LineRequest(sku=sku, quantity=dice.randint(1, 3)) for sku in dice.sample(skus, LINES)],
        )
        for number in range(count)
    ]


def place(asked: Sequence[orders.OrderRequest]) -> list[Placed]:
    """Place orders and return the payloads of their events."""
    events: list[Placed] = []
    for begin in range(0, len(asked), _PORTION):
        portion = asked[begin : begin + _PORTION]
        placed = orders.place_many(portion, now=clock.now())
        events += [told(done.order, request) for done, request in zip(placed, portion, strict=True)]
    return events


def told(order: Order, asked: orders.OrderRequest) -> Placed:
    """Return the payload of an order's event, without reading it back."""
    lines = [
        Line(
            sku=line.sku, quantity=line.quantity, name=_CATALOGUE[line.sku][0], unit_price_minor=_CATALOGUE[line.sku][1]
        )
        for line in asked.lines
    ]
    return OrderPlaced(
        order_id=order.id,
        number=order.number,
        customer_email=order.customer_email,
        customer_name=order.customer_name,
        payment_method=order.payment_method,
        currency=order.currency,
        total_minor=order.total_minor,
        lines=tuple(lines),
    ).model_dump(mode="json")


def read(keys: Sequence[str]) -> list[Placed]:
    """Return the payloads of the events of these orders."""
    told_of = Event.objects.filter(key__in=keys, type=OrderPlaced.type)
    return list(told_of.order_by("position").values_list("data", flat=True))


def not_relayed() -> int:
    return Event.objects.filter(log_position=None).count()


def mark() -> Mark:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(on_hand), 0) FROM inventory_stockitem WHERE sku LIKE 'BENCH-%%'", [])
        on_hand = int(cursor.fetchone()[0])
        rows = {}
        for table in tables():
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own tables
            rows[table] = cursor.fetchone()[0]
    return Mark(rows=rows, on_hand=on_hand)


def tables() -> list[str]:
    """Return the tables of the contexts and the engine."""
    return _tables_of(*_APPS)


def _tables_of(*labels: str) -> list[str]:
    return sorted(
        model._meta.db_table  # noqa: SLF001 - Django's own word for public
        for label in labels
        for model in apps.get_app_config(label).get_models()
    )


def clear() -> None:
    """Empty all tables but the catalogue's, the read models, Redis, and the books of DBOS."""
    emptied = [table for table in _tables_of(*_APPS, "shop") if table not in _KEPT] + _dbos_tables()
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(emptied)} RESTART IDENTITY CASCADE")
        cursor.execute(_FOLLOW_FROM_THE_END)
    flush_redis()


def last_position() -> int:
    """Return where the event log ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(position), 0) FROM sagas_event")
        return int(cursor.fetchone()[0])


def forget_since(position: int) -> None:
    """Delete everything after a position of the event log, and keep the history before it; empty Redis."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT key FROM sagas_event WHERE position > %s", [position])
        keys = [key for (key,) in cursor.fetchall()]
        for statement in _FORGET:
            cursor.execute(statement, [keys])
        cursor.execute(_FOLLOW_FROM_THE_END)
        for table in (*_tables_of("shop"), *_dbos_tables()):
            cursor.execute(f"TRUNCATE {table} CASCADE")
    flush_redis()


def settle() -> None:
    """Finish work of earlier measurements: dead rows, stale statistics, unwritten pages."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute("CHECKPOINT")


def servers_cpu_seconds() -> float:
    """Return the CPU seconds of PostgreSQL and Redis so far, without those of the measuring connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (asking,) = cursor.fetchone()
    servers = (embedded.Postgres(), embedded.Redis())
    return sum(cpu_seconds(pid, without=asking) for server in servers if (pid := server.pid()))


def flush_redis() -> None:
    path, _, database = settings.CELERY_BROKER_URL.removeprefix("redis+socket://").partition("?virtual_host=")
    with Redis(unix_socket_path=path, db=int(database)) as redis:
        redis.flushall()


# Moments -------------------------------------------------------------------------------------------------------------


def confirmed_at(keys: Collection[str]) -> dict[str, float]:
    """Return when the confirmation of each order was committed; seconds since 1970, by the machine's clock."""
    return _moments(
        "SELECT id::text, extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM orders_order"
        " WHERE id = ANY(%s::uuid[]) AND status = 'confirmed'",
        keys,
    )


def told_at(keys: Collection[str]) -> dict[str, float]:
    """Return the commit time of "sent" of each order's notification."""
    return _moments(
        "SELECT order_id::text, extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM notifications_notification"
        " WHERE order_id = ANY(%s::uuid[]) AND status = 'sent'",
        keys,
    )


def first_step_after(keys: Collection[str]) -> dict[str, float]:
    """Return how many seconds after the commit of each order our engine began its first step."""
    return _moments(
        """
        SELECT run.key, extract(epoch FROM min(step.started_at) - min(pg_xact_commit_timestamp(line.xmin)))
        FROM orders_orderline AS line
        JOIN sagas_run AS run ON run.key = line.order_id::text
        JOIN sagas_steprun AS step ON step.run_id = run.id
        WHERE line.order_id = ANY(%s::uuid[]) GROUP BY run.key
        """,
        keys,
    )


def are_told(keys: Sequence[str]) -> bool:
    """Say whether all orders are confirmed and all messages sent; reads only one order while many are not."""
    return told_at(keys[-1:]).keys() == set(keys[-1:]) and len(confirmed_at(keys)) == len(told_at(keys)) == len(keys)


def are_journalled(keys: Sequence[str]) -> bool:
    """Say whether the engine has nothing left to do for these orders."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM sagas_run WHERE key = ANY(%(keys)s) AND finished_at IS NOT NULL),"
            " (SELECT count(*) FROM sagas_delivery JOIN sagas_event AS event ON event.position = event_id"
            " WHERE event.key = ANY(%(keys)s) AND finished_at IS NOT NULL),"
            " (SELECT count(*) FROM sagas_event WHERE key = ANY(%(keys)s) AND relayed_at IS NULL)",
            {"keys": list(keys)},
        )
        return bool(cursor.fetchone() == (len(keys), len(keys), 0))


def _moments(statement: str, keys: Collection[str]) -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(keys)])
        return {key: float(moment) for key, moment in cursor.fetchall()}


def _dbos_tables() -> list[str]:
    """Return the tables of DBOS's workflows; its queues and versions are kept."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('dbos.%I', table_name) FROM information_schema.tables WHERE table_schema = 'dbos'"
            " AND table_name IN ('workflow_status', 'operation_outputs', 'workflow_inputs')"
        )
        return [name for (name,) in cursor.fetchall()]


#: In an order that foreign keys allow; each takes the ids of orders, as text.
_FOLLOW_FROM_THE_END = "UPDATE sagas_follower SET position = (SELECT coalesce(max(log_position), 0) FROM sagas_event)"
_FORGET = (
    (
        "DELETE FROM sagas_attempt USING sagas_steprun AS step JOIN sagas_run AS run ON run.id = step.run_id"
        " WHERE step_id = step.id AND run.key = ANY(%s)"
    ),
    "DELETE FROM sagas_delivery USING sagas_event AS event WHERE event_id = event.position AND event.key = ANY(%s)",
    "DELETE FROM sagas_steprun USING sagas_run AS run WHERE run_id = run.id AND run.key = ANY(%s)",
    "DELETE FROM sagas_run WHERE key = ANY(%s)",
    "DELETE FROM sagas_event WHERE key = ANY(%s)",
    "DELETE FROM notifications_notification WHERE order_id = ANY(%s::uuid[])",
    (
        "DELETE FROM payments_fakecharge USING payments_payment AS payment"
        " WHERE payments_fakecharge.key = payment.key AND payment.order_id = ANY(%s::uuid[])"
    ),
    "DELETE FROM payments_payment WHERE order_id = ANY(%s::uuid[])",
    "DELETE FROM inventory_parcel WHERE order_id = ANY(%s::uuid[])",
    "DELETE FROM inventory_reservation WHERE order_id = ANY(%s::uuid[])",
    "DELETE FROM orders_orderline WHERE order_id = ANY(%s::uuid[])",
    "DELETE FROM orders_order WHERE id = ANY(%s::uuid[])",
)
