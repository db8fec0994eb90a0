"""The lower floor: the same rows by set-based SQL only; Python passes the ids of the orders."""

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from sagas.db import clock
from shop.processes.fulfil_order import fulfil_order

from .floors import PORTION


def by_sql(orders: Sequence[dict[str, Any]]) -> None:
    keys = [order["order_id"] for order in orders]
    for begin in range(0, len(keys), PORTION):
        values: dict[str, Any] = {
            "keys": keys[begin : begin + PORTION],
            "now": clock.now(),
            "hash": fulfil_order.definition_hash,
            "pivot": fulfil_order.pivot_place,
            "deadline": fulfil_order.deadline,
        }
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in _STATEMENTS:
                cursor.execute(statement, values)


_STATEMENTS = (
    # The current orders, with the ids of their new rows.
    """
    CREATE TEMPORARY TABLE work ON COMMIT DROP AS
    SELECT key, key::uuid AS order_id, position, id AS event_id, correlation_id, data, uuidv7() AS run_id,
        uuidv7() AS payment_id, uuidv7() AS parcel_id, uuidv7() AS notification_id, ''::text AS reference,
        ''::text AS tracking, data->>'currency' AS currency, (data->>'total_minor')::bigint AS total_minor,
        CASE data->>'currency' WHEN 'GBP' THEN '£' WHEN 'EUR' THEN '€' WHEN 'USD' THEN '$' ELSE '' END
            || to_char((data->>'total_minor')::numeric / 100, 'FM999,999,990.00') AS total
    FROM sagas_event WHERE key = ANY(%(keys)s) AND type = 'orders.order_placed'
    """,
    "UPDATE work SET tracking = 'PX' || upper(right(replace(parcel_id::text, '-', ''), 14))",
    """
    WITH moved AS (
        SELECT line->>'sku' AS sku, sum((line->>'quantity')::int) AS quantity
        FROM work, jsonb_array_elements(data->'lines') AS line GROUP BY 1
    ), locked AS (
        SELECT stock.sku FROM inventory_stockitem AS stock JOIN moved USING (sku) ORDER BY sku FOR UPDATE OF stock
    )
    UPDATE inventory_stockitem AS stock SET on_hand = on_hand - moved.quantity
    FROM moved JOIN locked USING (sku) WHERE stock.sku = moved.sku
    """,
    """
    INSERT INTO inventory_reservation (order_id, key, sku, quantity, status, reserved_at, ended_at)
    SELECT order_id, run_id || ':reserve-stock', line->>'sku', (line->>'quantity')::int, 'shipped', %(now)s, %(now)s
    FROM work, jsonb_array_elements(data->'lines') AS line
    """,
    """
    WITH charge AS (
        INSERT INTO payments_fakecharge (key, status, amount_minor, currency, method, calls)
        SELECT run_id || ':capture-payment', 'charged', total_minor, currency, data->>'payment_method', 1 FROM work
        RETURNING id, key
    )
    UPDATE work SET reference = 'fake_' || charge.id FROM charge WHERE charge.key = run_id || ':capture-payment'
    """,
    """
    INSERT INTO payments_payment
        (id, order_id, key, status, amount_minor, currency, method, provider_reference, reason, made_at)
    SELECT payment_id, order_id, run_id || ':capture-payment', 'captured', total_minor, currency,
        data->>'payment_method', reference, '', %(now)s
    FROM work
    """,
    """
    INSERT INTO inventory_parcel (id, order_id, tracking_number, booked_at)
    SELECT parcel_id, order_id, tracking, %(now)s FROM work
    """,
    """
    UPDATE orders_order SET status = 'confirmed', decided_at = %(now)s FROM work WHERE orders_order.id = work.order_id
    """,
    """
    INSERT INTO notifications_notification
        (id, order_id, kind, channel, recipient, context, status, queued_at, sent_at)
    SELECT notification_id, order_id, 'order_confirmed', 'email', data->>'customer_email', jsonb_build_object(
        'number', data->'number', 'name', data->'customer_name', 'total', total, 'tracking_number', tracking, 'lines',
        (
            SELECT jsonb_agg(jsonb_build_object(
                'quantity', line->'quantity', 'name', line->'name', 'total',
                left(total, 1) || to_char((line->>'quantity')::numeric * (line->>'unit_price_minor')::numeric / 100,
                'FM999,999,990.00')
            )) FROM jsonb_array_elements(data->'lines') AS line
        )), 'sent', %(now)s, %(now)s
    FROM work
    """,
    """
    UPDATE sagas_event AS event SET relayed_at = %(now)s,
        log_position = (SELECT coalesce(max(log_position), 0) FROM sagas_event) + work.number
    FROM (SELECT position, row_number() OVER (ORDER BY position) AS number FROM work) AS work
    WHERE event.position = work.position
    """,
    """
    INSERT INTO sagas_event
        (id, type, version, aggregate, subject, sequence, key, data, correlation_id, causation_id, traceparent,
        occurred_at, relayed_at, log_position)
    SELECT uuidv7(), told.type, 1, told.aggregate, told.subject, told.sequence, key, told.data, correlation_id,
        event_id, '', %(now)s, %(now)s,
        (SELECT coalesce(max(log_position), 0) FROM sagas_event) + row_number() OVER (ORDER BY position, told.place)
    FROM work, LATERAL (
        SELECT jsonb_agg(jsonb_build_object('sku', line->'sku', 'quantity', line->'quantity')) AS held,
            jsonb_build_object('notification_id', notification_id, 'order_id', order_id, 'kind', 'order_confirmed',
                'channel', 'email') AS message
        FROM jsonb_array_elements(data->'lines') AS line
    ) AS facts, LATERAL (VALUES
        (1, 'inventory.stock_reserved', 'reservation', key, 1,
            jsonb_build_object('order_id', order_id, 'lines', held)),
        (2, 'payments.payment_captured', 'payment', payment_id::text, 1,
            jsonb_build_object('payment_id', payment_id, 'order_id', order_id, 'amount_minor', total_minor, 'currency',
                currency, 'method', data->'payment_method', 'provider_reference', reference)),
        (3, 'inventory.shipment_booked', 'reservation', key, 2,
            jsonb_build_object('order_id', order_id, 'lines', held, 'tracking_number', tracking)),
        (4, 'orders.order_confirmed', 'order', key, 2,
            jsonb_build_object('order_id', order_id, 'number', data->'number')),
        (5, 'notifications.notification_queued', 'notification', notification_id::text, 1, message),
        (6, 'notifications.notification_sent', 'notification', notification_id::text, 2, message)
    ) AS told (place, type, aggregate, subject, sequence, data)
    ORDER BY position, told.place
    """,
    """
    INSERT INTO sagas_run
        (id, saga, definition_hash, key, status, epoch, place, pivot_place, input, results, resends, deadline_at,
        event_id, correlation_id, traceparent, started_at, finished_at)
    SELECT run_id, 'fulfil-order', %(hash)s, key, 'completed', 1, 5, %(pivot)s, data,
        jsonb_build_object(
            'reserve-stock', jsonb_build_object('skus', jsonb_array_length(data->'lines'), 'pieces',
                (SELECT sum((line->>'quantity')::int) FROM jsonb_array_elements(data->'lines') AS line)),
            'capture-payment', jsonb_build_object('payment_id', payment_id, 'charged', total),
            'book-shipment', jsonb_build_object('tracking_number', tracking),
            'notify-customer', jsonb_build_object('queued', 'email to ' || (data->>'customer_email'))
        ), 0, %(now)s + %(deadline)s, event_id, correlation_id, '', %(now)s, %(now)s
    FROM work
    """,
    """
    INSERT INTO sagas_steprun
        (run_id, place, next_place, name, step, action, status, attempts, lost_tries, idempotency_key, started_at,
        finished_at)
    SELECT run_id, planned.place, planned.next_place, name, name, 'run', planned.status, attempts, 0,
        run_id || ':' || name, CASE attempts WHEN 1 THEN %(now)s END, CASE attempts WHEN 1 THEN %(now)s END
    FROM work, (VALUES
        (0, 2, 'reserve-stock', 'done', 1), (1, NULL, 'hold-credit', 'skipped', 0),
        (2, 3, 'capture-payment', 'done', 1), (3, 4, 'book-shipment', 'done', 1), (4, 5, 'confirm-order', 'done', 1),
        (5, NULL, 'notify-customer', 'done', 1)
    ) AS planned (place, next_place, name, status, attempts)
    """,
    """
    INSERT INTO sagas_delivery
        (event_id, subscription, key, status, attempts, lost_tries, resends, error, started_at, finished_at)
    SELECT event.position, 'send-notification', event.key, 'done', 1, 0, 0, '', %(now)s, %(now)s
    FROM work JOIN sagas_event AS event
        ON event.key = work.key AND event.type = 'notifications.notification_queued'
    """,
)
