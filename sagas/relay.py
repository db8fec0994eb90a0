"""The relay: takes new events from the outbox, in order, and turns them into runs and deliveries."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

import structlog
from django.db import IntegrityError, OperationalError, connection, transaction

from . import registry
from .attempts import message_of
from .bulk import array, insert_for_each
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
    """Take at most `limit` events that somebody reacts to; write their runs and deliveries in bulk.

    Any number of relays may run: one works, the others find the lock taken and return at once. A relay that dies
    before its commit has done nothing; one that dies after it leaves rows that the sweep sends.

    Events of a type this process does not know are left to one that does (rolling deploy).

    Transaction: opens one.
    Idempotent: by event; `relayed_at` is stamped in the same transaction.
    """
    with transaction.atomic():
        if not _is_the_only_one():
            return Relayed()
        events = _waiting(limit)
        if not events:
            return Relayed()
        relayed = Relayed(events=len(events))
        for subscription, wanted in _by_subscription(events):
            if isinstance(subscription, Start):
                _start(subscription, wanted, relayed, now)
            else:
                for _, alike in groupby(wanted, key=lambda event: event.bulk):
                    _owe(subscription, list(alike), relayed, now)
        _stamp([event.position for event in events], now)
    return relayed


def pass_over(*, now: datetime, limit: int) -> int:
    """Stamp at most `limit` events of known types that nobody reacts to; return how many.

    Apart from `relay`, and behind it: nobody waits for this.

    Transaction: a single statement, after one that looks.
    Idempotent: by event.
    """
    unheard = Event.objects.filter(relayed_at=None, type__in=set(known_types()) - _heard())
    # Not in one statement: in the middle of a burst, statistics of the table as it was make that one quadratic.
    oldest = list(unheard.order_by("bulk", "position").values_list("position", flat=True)[:limit])
    if oldest:
        _stamp(oldest, now)
    return len(oldest)


def _heard() -> set[str]:
    """Return the types of events that this process knows and somebody reacts to."""
    return {subscription.event.type for subscription in registry.subscriptions()} & set(known_types())


def _waiting(limit: int) -> list[Event]:
    """Lock what is to be relayed: first what somebody waits for, then the bulk, each in order.

    Behind an event of the bulk, later ones of its key wait in any case: order per key is kept.
    """
    # Written out: Django would take longer to put it together than the database to answer.
    return list(Event.objects.raw(_WAITING, {"types": sorted(_heard()), "limit": limit}))


_WAITING = """
    SELECT waiting.* FROM sagas_event AS waiting
    WHERE waiting.relayed_at IS NULL AND waiting.type = ANY(%(types)s) AND (waiting.bulk OR NOT EXISTS (
        SELECT 1 FROM sagas_event AS earlier
        WHERE earlier.key = waiting.key AND earlier.position < waiting.position AND earlier.bulk
            AND earlier.relayed_at IS NULL AND earlier.type = ANY(%(types)s)
    ))
    ORDER BY waiting.bulk, waiting.position LIMIT %(limit)s FOR NO KEY UPDATE OF waiting SKIP LOCKED
    """


def _stamp(positions: Sequence[int], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sagas_event SET relayed_at = %s WHERE position = ANY(%s::bigint[]) AND relayed_at IS NULL",
            [now, array(positions)],
        )


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
    return [(one, wanted[one.name]) for one in registry.subscriptions() if one.name in wanted]


def _start(subscription: Start, events: list[Event], relayed: Relayed, now: datetime) -> None:
    """Start runs in bulk; where that fails, one by one, so that an unreadable event parks alone."""
    try:
        with transaction.atomic():
            started = start(subscription, events, now=now)
    except (OperationalError, IntegrityError):
        raise  # the database is in trouble, not the event: the next turn takes it on
    except Exception as error:  # one bad event must not hold up the others
        if len(events) == 1:
            logger.exception("event_parked", event_id=str(events[0].id), subscription=subscription.name)
            _owe(subscription, events, relayed, now, parked=f"{type(error).__name__}: {message_of(error)}")
            return
    else:
        relayed.wake_ups.extend(started.wake_ups)
        if started.waiting:
            _owe(subscription, started.waiting, relayed, now)
        return
    for event in events:
        _start(subscription, [event], relayed, now)


def _owe(
    subscription: Subscription, events: Sequence[Event], relayed: Relayed, now: datetime, *, parked: str = ""
) -> None:
    """Write deliveries that do not stand already (an event may be relayed again by hand), in one statement."""
    template = Delivery(subscription=subscription.name, due_at=now + resend_after(0))
    if parked:
        template.status, template.due_at, template.error = DeliveryStatus.PARKED, None, parked
    owed = insert_for_each(
        "unnest(%s::bigint[], %s::text[]) AS new (event, key)",
        [array(event.position for event in events), array(event.key for event in events)],
        [template],
        {"event_id": "new.event", "key": "new.key"},
    )
    if not parked:
        relayed.deliveries.extend(wake_ups_for(subscription.name, owed, bulk=events[0].bulk))
