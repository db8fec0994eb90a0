"""The outbox: events are saved with the change they tell of, or not at all."""

from collections.abc import Callable, Iterable
from datetime import datetime

import structlog
from django.db import connection, transaction
from django.db.models import Max, Q

from .errors import TransactionRequiredError
from .events import DomainEvent, current_cause
from .ids import new_id
from .models import Event

logger = structlog.get_logger(__name__)

_wake_relay: Callable[[], None] = lambda: None  # noqa: E731


def on_commit_call(wake_relay: Callable[[], None]) -> Callable[[], None]:
    """Set what tells the relay that there is something to do; return what did so far.

    It may fail, the relay looks each second anyway.
    """
    global _wake_relay
    former, _wake_relay = _wake_relay, wake_relay
    return former


def emit(*events: DomainEvent, now: datetime) -> list[Event]:
    """Write events to the outbox, in this order.

    Transaction: requires one; the events exist if and only if it commits.

    Raises:
        TransactionRequiredError: there is no transaction the events could share the fate of.
    """
    if not connection.in_atomic_block:
        raise TransactionRequiredError("events are emitted inside the transaction that makes them true")
    cause = current_cause()
    correlation_id = cause.correlation_id or new_id()
    sequences = _sequences(events)
    rows = []
    for event in events:
        subject = (event.aggregate, event.subject_id)
        sequences[subject] += 1
        rows.append(
            Event(
                type=event.type,
                version=event.version,
                aggregate=event.aggregate,
                subject=event.subject_id,
                sequence=sequences[subject],
                key=event.key,
                data=event.model_dump(mode="json"),
                correlation_id=correlation_id,
                causation_id=cause.causation_id,
                traceparent=cause.traceparent,
                occurred_at=now,
            )
        )
    rows = Event.objects.bulk_create(rows)
    transaction.on_commit(_wake, robust=True)
    return rows


def _wake() -> None:
    _wake_relay()


def _sequences(events: Iterable[DomainEvent]) -> dict[tuple[str, str], int]:
    """Return how many events each subject has; two writers of one subject meet in the unique constraint."""
    subjects = {(event.aggregate, event.subject_id): 0 for event in events}
    wanted = Q()
    for aggregate, subject in subjects:
        wanted |= Q(aggregate=aggregate, subject=subject)
    found = Event.objects.filter(wanted).values("aggregate", "subject").annotate(last=Max("sequence"))
    return subjects | {(row["aggregate"], row["subject"]): row["last"] for row in found}
