"""The outbox: events are saved in the transaction of the change they describe, or not at all."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction

from ..core import registry
from ..core.cause import Cause, cause_of
from ..core.errors import TransactionRequiredError
from ..core.events import DomainEvent
from ..core.ids import new_id
from ..db.rows import array

logger = structlog.get_logger(__name__)

#: Called after each commit with an event that has reactions; the outbox knows no broker.
_wake_relay: Callable[[], None] = lambda: None  # noqa: E731


def set_waker(wake_relay: Callable[[], None]) -> Callable[[], None]:
    """Set the function that tells the relay of new events, for this process; return the former one.

    `sagas.apps` sets `sagas.messaging.waker` where Celery relays; until then, and where a process of its own relays,
    nothing is called. It is called in the thread of the commit, so it must not wait for the broker. An error is logged
    and changes nothing: the relay makes a turn each second anyway.
    """
    global _wake_relay
    former, _wake_relay = _wake_relay, wake_relay
    return former


def emit(*events: DomainEvent, now: datetime) -> None:
    """Write events to the outbox, in this order, in one statement.

    Transaction: requires one; the events exist if and only if it commits.

    Raises:
        TransactionRequiredError: called outside a transaction.
        LookupError: a batch emits an event that belongs to none of its members.
    """
    if not connection.in_atomic_block:
        raise TransactionRequiredError("events are emitted inside the transaction that makes them true")
    if not events:
        return
    together = new_id()
    rows = [_row(event, cause_of(event), together) for event in events]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [now, *map(array, zip(*rows, strict=True))])
    if any(registry.reactions_to(event.type) for event in events):
        transaction.on_commit(_wake, robust=True)


#: Numbers the events of each subject. Two concurrent writers of one subject take the same number, and the unique
#: constraint refuses the second.
_INSERT = """
    INSERT INTO sagas_event (id, type, version, aggregate, subject, sequence, key, data, correlation_id, causation_id,
        traceparent, low_priority, occurred_at)
    SELECT id, type, version, aggregate, subject,
        COALESCE((SELECT MAX(stored.sequence) FROM sagas_event AS stored
            WHERE stored.aggregate = new.aggregate AND stored.subject = new.subject), 0)
            + ROW_NUMBER() OVER (PARTITION BY aggregate, subject ORDER BY number),
        key, data::jsonb, correlation_id, causation_id, traceparent, low_priority, %s
    FROM unnest(%s::uuid[], %s::text[], %s::smallint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[],
        %s::uuid[], %s::text[], %s::boolean[]) WITH ORDINALITY AS new (id, type, version, aggregate, subject, key, data,
        correlation_id, causation_id, traceparent, low_priority, number)
    ORDER BY number
    """


def _row(event: DomainEvent, cause: Cause, together: UUID) -> tuple[Any, ...]:
    return (
        new_id(),
        event.type,
        event.version,
        event.aggregate,
        event.subject_id,
        event.key,
        event.model_dump_json(),
        cause.correlation_id or together,
        cause.causation_id,
        cause.traceparent,
        cause.low_priority,
    )


def _wake() -> None:
    _wake_relay()
