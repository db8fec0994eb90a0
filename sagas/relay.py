"""The relay: takes new events from the outbox, in order, and turns them into runs and deliveries."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from django.db import IntegrityError, OperationalError, connection, transaction

from . import registry
from .attempts import message_of
from .deliveries import DeliveryWakeUp, wake_ups_for
from .events import known_types
from .models import Delivery, Event
from .plans import WakeUp, resend_after
from .starting import start
from .subscriptions import Start, Subscription
from .transitions import DeliveryStatus

logger = structlog.get_logger(__name__)

#: Name of the lock that one relay at a time holds ("rela" in ASCII): deliveries of a key must be written in order.
_LOCK = 0x72656C61


@dataclass(frozen=True, kw_only=True)
class Relayed:
    """What one turn did, and the messages to send now that it is committed."""

    events: int = 0
    wake_ups: list[WakeUp] = field(default_factory=list)
    deliveries: list[DeliveryWakeUp] = field(default_factory=list)


def relay(*, now: datetime, limit: int) -> Relayed:
    """Take at most `limit` events on; write their runs and deliveries in bulk.

    Any number of relays may run: one works, the others find the lock taken and return at once. A relay that dies
    before its commit has done nothing; one that dies after it leaves rows that the sweep sends.

    Events of a type this process does not know are left to one that does (rolling deploy).

    Transaction: opens one.
    Idempotent: by event; `relayed_at` is stamped in the same transaction.
    """
    with transaction.atomic():
        if not _is_the_only_one():
            return Relayed()
        events = list(
            Event.objects.filter(relayed_at=None, type__in=known_types())
            .order_by("position")
            .select_for_update(no_key=True, skip_locked=True)[:limit]
        )
        if not events:
            return Relayed()
        chains: list[WakeUp] = []
        owed: list[Delivery] = []
        for subscription, wanted in _by_subscription(events):
            if isinstance(subscription, Start):
                chains += _start(subscription, wanted, owed, now)
            else:
                owed += [_delivery(subscription, event, now) for event in wanted]
        owed = Delivery.objects.bulk_create(_not_yet_owed(events, owed))
        Event.objects.filter(position__in=[event.position for event in events]).update(relayed_at=now)
    return Relayed(events=len(events), wake_ups=chains, deliveries=wake_ups_for(owed))


def _is_the_only_one() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        (locked,) = cursor.fetchone() or (False,)
        return bool(locked)


def _by_subscription(events: Sequence[Event]) -> list[tuple[Subscription, list[Event]]]:
    wanted: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        for subscription in registry.reactions_to(event.type):
            wanted[subscription.name].append(event)
    return [(subscription, wanted[subscription.name]) for subscription in registry.subscriptions()]


def _start(subscription: Start, events: list[Event], owed: list[Delivery], now: datetime) -> list[WakeUp]:
    """Start runs in bulk; where that fails, one by one, so that an unreadable event parks alone."""
    try:
        with transaction.atomic():
            started = start(subscription, events, now=now)
    except (OperationalError, IntegrityError):
        raise  # the database is in trouble, not the event: the next turn takes it on
    except Exception as error:  # one bad event must not hold up the others
        if len(events) == 1:
            logger.exception("event_parked", event_id=str(events[0].id), subscription=subscription.name)
            parked = _delivery(subscription, events[0], now)
            parked.status, parked.due_at = DeliveryStatus.PARKED, None
            parked.error = f"{type(error).__name__}: {message_of(error)}"
            owed.append(parked)
            return []
    else:
        owed += [_delivery(subscription, event, now) for event in started.waiting]
        return started.wake_ups
    return [wake_up for event in events for wake_up in _start(subscription, [event], owed, now)]


def _not_yet_owed(events: Sequence[Event], owed: list[Delivery]) -> list[Delivery]:
    """Leave out what stands already: an event may be relayed again by hand."""
    stored = set(Delivery.objects.filter(event__in=events).values_list("event_id", "subscription"))
    return [delivery for delivery in owed if (delivery.event_id, delivery.subscription) not in stored]


def _delivery(subscription: Subscription, event: Event, now: datetime) -> Delivery:
    return Delivery(event=event, subscription=subscription.name, key=event.key, due_at=now + resend_after(0))
