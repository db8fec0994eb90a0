"""A reaction that comes to a shop late: `celery worker -I tests.faults.analytics`. No producer knows of it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from orders.events import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from sagas.core import registry
from sagas.core.subscription import Received, StartAt, Subscription
from sagas.db.rows import array


def note_many(received: Sequence[Received[Any]]) -> dict[UUID, object]:
    """Write events down; one that came before violates the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics (event_id, key, log_position)"
            " SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bigint[])",
            [
                array(each.event_id for each in received),
                array(each.event.key for each in received),
                array(each.stored.log_position for each in received),
            ],
        )
    return dict.fromkeys(each.event_id for each in received)


ANALYTICS = Subscription(
    "analytics",
    event=(OrderPlaced, OrderConfirmed, OrderRejected, OrderCancelled),
    queue="sagas",
    react_many=note_many,
    start_at=StartAt.BEGINNING,
)

registry.register([ANALYTICS])
