"""What a turn of the reconciliation costs: no more when more orders moved, or are stored."""

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from sagas.books import reconciliation
from sagas.books.reconciliation import Reconciled
from sagas.core import registry
from sagas.models import Finding, Reconciliation
from sagas.testing import drive
from tests.factories.credit import CreditAccountFactory
from tests.factories.orders import Place


def turn() -> Reconciled:
    return reconciliation.reconcile(now=timezone.now(), checks=registry.checks(), walks=registry.walks())


def test_a_turn_costs_as_many_statements_for_a_hundred_orders_as_for_one(place: Place, settings: Settings) -> None:
    settings.SAGAS_BATCH_SIZE = 50
    CreditAccountFactory.create(limit_minor=10**9)
    turn()
    counts = []
    for orders in (1, 100):
        for _ in range(orders):
            place("invoice", lines=(("MUG" if orders == 1 else "LAMP", 1),))
        drive()
        Reconciliation.objects.update(checked_position=0)
        with CaptureQueriesContext(connection) as statements:
            assert turn().keys >= orders
        assert not Finding.objects.exists()
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 75, counts


def test_no_statement_of_a_turn_reads_a_whole_table_of_history(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are filled by copies of one finished order, and analysed; each statement is then explained."""
    # Slices as small, beside this history, as the real ones are beside a year's.
    monkeypatch.setattr(reconciliation, "_OVERLAP", 10)
    walks = [replace(walk, limit=20) for walk in registry.walks()]
    place()
    drive()
    CreditAccountFactory.create(limit_minor=5000)
    with connection.cursor() as cursor:
        for statement in COPIES:
            cursor.execute(statement, [HISTORY])
        cursor.execute("ANALYZE")
    while reconciliation.reconcile(now=timezone.now(), checks=registry.checks(), walks=walks).more:
        pass
    place()
    explained = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("SELECT", "WITH", "\n            SELECT", "UPDATE")) and "advisory" not in sql:
            with connection.connection.cursor() as cursor:
                explained.append((sql, [line for (line,) in cursor.execute(f"EXPLAIN {sql}", params).fetchall()]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        keys_checked = reconciliation.reconcile(now=timezone.now(), checks=registry.checks(), walks=walks).keys
    assert keys_checked < HISTORY / 50
    assert len(explained) > 20
    read_whole = {
        (sql, line.strip())
        for sql, lines in explained
        for line in lines
        for table in ("orders_order ", "orders_orderline", "payments_payment", "inventory_reservation",
                      "inventory_parcel", "notifications_notification", "sagas_event", "sagas_run", "sagas_delivery")
        if f"Seq Scan on {table}" in line
    }  # fmt: skip
    assert read_whole == set()


HISTORY = 10_000
COPIES = (
    """INSERT INTO orders_order (id, number, status, reason, customer_email, customer_name, payment_method, currency,
       total_minor, request_hash, placed_at, decided_at)
       SELECT uuidv7(), 'H' || n, status, reason, customer_email, customer_name, payment_method, currency, total_minor,
       '', placed_at, decided_at FROM orders_order, generate_series(1, %s) AS n""",
    """INSERT INTO orders_orderline (order_id, product_id, sku, name, quantity, unit_price_minor)
       SELECT o.id, product_id, sku, name, quantity, unit_price_minor
       FROM (SELECT * FROM orders_orderline LIMIT 1) AS line, orders_order AS o
       WHERE o.number LIKE 'H%%' LIMIT %s""",
    """INSERT INTO payments_payment (id, order_id, key, status, amount_minor, currency, method, provider_reference,
       reason, made_at) SELECT uuidv7(), o.id, o.number, p.status, amount_minor, p.currency, method, '', '', made_at
       FROM payments_payment AS p, orders_order AS o WHERE o.number LIKE 'H%%' LIMIT %s""",
    """INSERT INTO inventory_reservation (order_id, key, sku, quantity, status, reserved_at, ended_at)
       SELECT o.id, o.number, sku, quantity, r.status, reserved_at, ended_at
       FROM inventory_reservation AS r, orders_order AS o WHERE o.number LIKE 'H%%' LIMIT %s""",
    """INSERT INTO inventory_parcel (id, order_id, tracking_number, booked_at)
       SELECT uuidv7(), o.id, o.number, booked_at
       FROM inventory_parcel AS r, orders_order AS o WHERE o.number LIKE 'H%%' LIMIT %s""",
    """INSERT INTO notifications_notification (id, order_id, kind, channel, recipient, context, status, queued_at,
       sent_at) SELECT uuidv7(), o.id, kind, channel, recipient, context, n.status, queued_at, sent_at
       FROM notifications_notification AS n, orders_order AS o WHERE o.number LIKE 'H%%' LIMIT %s""",
    """INSERT INTO sagas_run (id, saga, definition_hash, key, status, epoch, place, input, results, resends, event_id,
       correlation_id, traceparent, started_at, finished_at)
       SELECT uuidv7(), saga, definition_hash, o.id, r.status, epoch, place, input, results, 0, uuidv7(),
       correlation_id, '', started_at, finished_at
       FROM sagas_run AS r, orders_order AS o WHERE o.number LIKE 'H%%' LIMIT %s""",
    """INSERT INTO sagas_event (id, type, version, aggregate, subject, sequence, key, data, correlation_id, traceparent,
       occurred_at, relayed_at, log_position) SELECT uuidv7(), type, version, aggregate, o.id, 100 + position, o.id,
       data, correlation_id, '', occurred_at - interval '1 day', relayed_at, 1000000 + row_number() OVER ()
       FROM sagas_event AS e, orders_order AS o
       WHERE o.number LIKE 'H%%' AND e.type = 'notifications.notification_queued' LIMIT %s""",
    """INSERT INTO sagas_delivery (event_id, subscription, key, status, attempts, lost_tries, resends, error)
       SELECT e.position, subscription, e.key, d.status, 1, 0, 0, ''
       FROM sagas_delivery AS d, sagas_event AS e
       WHERE e.sequence > 100 LIMIT %s""",
)
