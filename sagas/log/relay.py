"""The relay: takes new events from the outbox into the log, in order, and turns them into runs and deliveries."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import structlog
from django.db import IntegrityError, OperationalError, connection, transaction

from ..core import registry
from ..core.events import known_types
from ..core.statuses import DeliveryStatus
from ..core.subscription import Start, Subscription
from ..db import locks
from ..db.rows import array, insert_for_each, update_all
from ..db.storable import message_of
from ..engine.delivery_rows import is_busy
from ..engine.limits import resend_after
from ..engine.start import start_runs
from ..engine.wake_ups import DeliveryWakeUp, WakeUp, delivery_wake_ups
from ..models import Delivery, Event, Follower
from . import followers

logger = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Relayed:
    """The outcome of one turn, and the messages to send now that it is committed.

    Attributes:
        events: number of events that are new in the log.
        more: the next turn has work.
    """

    events: int = 0
    more: bool = False
    wake_ups: list[WakeUp] = field(default_factory=list)
    deliveries: list[DeliveryWakeUp] = field(default_factory=list)


#: Returns position and type of each event to relay next. Called with the maximum number, and whether events of low
#: priority are included.
FindNew = Callable[[int, bool], list[tuple[int, str]]]


def new_events(
    limit: int,
    low_priority: bool,  # noqa: FBT001 - as `FindNew`
    *,
    among: Collection[int] | None = None,
) -> list[tuple[int, str]]:
    """Return position and type of the outbox's new events: interactive ones first, then low priority, each in order.

    Order per key is kept: an event waits for an earlier one of its key that is of the other priority.

    Args:
        low_priority: whether events of low priority are included.
        among: only events at these positions; all, if None.
    """
    only, positions = ("", "") if among is None else (_ONLY, array(among))
    asked: dict[str, Any] = {
        "types": array(known_types()),
        "limit": limit,
        "low_priority": low_priority,
        "among": positions,
    }
    first: dict[tuple[str, bool], int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_WAITING.format(only=only), asked)
        found = sorted(cursor.fetchall())
        if any(both for *_, both in found):
            cursor.execute(_FIRST_OF_KEY, asked | {"keys": array({key for *_, key, _ in found})})
            first = {(key, kind): position for key, kind, position in cursor.fetchall()}
    return [
        (position, event_type)
        for kind, position, event_type, key, _ in found
        if first.get((key, not kind), position) >= position
    ][:limit]


_ONLY = "AND position = ANY(%(among)s::bigint[])"
#: At most `limit` events of each priority, and whether both wait. Ordered as the partial index on new events is:
#: in the middle of a burst the statistics of the table are old, and the planner would take another index.
_WAITING = """
    SELECT low_priority, position, type, key,
        (SELECT low_priority FROM sagas_event WHERE log_position IS NULL
            ORDER BY low_priority, position LIMIT 1)
        <> (SELECT low_priority FROM sagas_event WHERE log_position IS NULL
            ORDER BY low_priority DESC, position DESC LIMIT 1)
    FROM (
        (SELECT low_priority, position, type, key FROM sagas_event
            WHERE log_position IS NULL AND low_priority <= false AND type = ANY(%(types)s::text[]) {only}
            ORDER BY low_priority, position LIMIT %(limit)s)
        UNION ALL
        (SELECT low_priority, position, type, key FROM sagas_event
            WHERE log_position IS NULL AND low_priority >= true AND %(low_priority)s
                AND type = ANY(%(types)s::text[]) {only}
            ORDER BY low_priority, position LIMIT %(limit)s)
    ) AS waiting
    """
#: One statement for all keys, and only while events of both priorities wait: a subquery for each event would read all
#: new events each time, if the planner takes the partial index on them.
_FIRST_OF_KEY = """
    SELECT key, low_priority, min(position) FROM sagas_event
    WHERE log_position IS NULL AND type = ANY(%(types)s::text[]) AND key = ANY(%(keys)s::text[])
    GROUP BY key, low_priority
    """


def relay_events(*, now: datetime, limit: int, find_new: FindNew = new_events, low_priority: bool = True) -> Relayed:
    """Take at most `limit` new events into the log; write the runs and deliveries for them.

    A follower that is behind (new and from the beginning, paused and resumed, unknown to the relay of older code, or
    with a receiver that was away for long) first gets a portion of the log. At the head, it gets the new events.

    Any number of relays may run: one works, the others find the lock taken and return at once. A relay that dies
    before its commit has done nothing; one that dies after it leaves rows that the sweep sends.

    Events of a type this process does not know are left to a process that knows it (rolling deploy).

    Transaction: opens one.
    Idempotent: by event; its place in the log is given in the same transaction.

    Args:
        find_new: returns the new events, once the lock is held: from the outbox, or from the write-ahead log
            (`sagas.cdc`).
        low_priority: whether events of low priority are taken, and followers that are behind are served.
    """
    with transaction.atomic():
        if not locks.take_if_free(locks.Lock.LOG):
            return Relayed()
        relayed = Relayed()
        head, known = followers.of_subscriptions(now)
        behind = [each for each in known if low_priority and each.paused_at is None and each.position < head]
        for follower in behind:
            _catch_up(follower, head, relayed, now=now, limit=limit)
        update_all(behind, ("position",))
        new = find_new(limit, low_priority)
        relayed.events, relayed.more = len(new), relayed.more or len(new) == limit
        if new:
            at_head = [follower for follower in known if follower.paused_at is None and follower.position >= head]
            live = [follower for follower in at_head if not _has_enough(follower)]
            _serve_live(live, new, relayed, now)
            _number([position for position, _ in new], head, live, now)
    return relayed


def _number(positions: Sequence[int], head: int, live: Sequence[Follower], now: datetime) -> None:
    """Append events to the log, in the order in which they were written; move the live followers to its new head."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH moved AS (UPDATE sagas_follower SET position = %s WHERE name = ANY(%s::text[]))"
            " UPDATE sagas_event AS stored SET log_position = %s + new.number, relayed_at = %s"
            " FROM unnest(%s::bigint[]) WITH ORDINALITY AS new (position, number)"
            " WHERE stored.position = new.position",
            [
                head + len(positions),
                array(follower.name for follower in live),
                head,
                now,
                array(sorted(positions)),
            ],
        )


def _serve_live(live: Sequence[Follower], new: Sequence[tuple[int, str]], relayed: Relayed, now: datetime) -> None:
    """Write the runs and deliveries for new events, for the followers at the head of the log."""
    listening = [subscription for follower in live if (subscription := registry.subscription(follower.name))]
    heard = {event_type for subscription in listening for event_type in subscription.events}
    found = Event.objects.in_bulk([position for position, event_type in new if event_type in heard])
    for subscription in listening:
        wanted = [found[position] for position, event_type in new if event_type in subscription.events]
        for low_priority, alike in groupby(wanted, key=lambda event: event.low_priority):
            _serve(subscription, list(alike), relayed, now, low_priority=low_priority)


def _has_enough(follower: Follower) -> bool:
    """Say whether a follower has its maximum of open deliveries: its receiver is away or slow, and it falls behind.

    Without this limit the sweep would have no time for the deliveries of other followers.
    """
    subscription = registry.subscription(follower.name)
    maximum = None if subscription is None else subscription.max_open_deliveries
    return maximum is not None and is_busy(follower.name, maximum)


def _catch_up(follower: Follower, head: int, relayed: Relayed, *, now: datetime, limit: int) -> None:
    """Write the deliveries of the next portion of the log for a follower, with low priority.

    Nothing is written while the follower has its maximum of open deliveries.
    """
    subscription = registry.subscription(follower.name)
    if subscription is None:
        return
    limit = limit if subscription.max_open_deliveries is None else min(limit, subscription.max_open_deliveries)
    if is_busy(follower.name, limit):
        return
    end = min(head, follower.position + limit)
    portion = Event.objects.filter(
        log_position__gt=follower.position, log_position__lte=end, type__in=subscription.events
    )
    _serve(subscription, list(portion.order_by("log_position")), relayed, now, low_priority=True)
    follower.position, relayed.more = end, True


def _serve(
    subscription: Subscription, events: Sequence[Event], relayed: Relayed, now: datetime, *, low_priority: bool
) -> None:
    """Write runs for these events if the subscription starts a saga; otherwise write deliveries."""
    if not events:
        return
    if isinstance(subscription, Start):
        _write_runs(subscription, events, relayed, now, low_priority=low_priority)
    else:
        _write_deliveries(subscription, events, relayed, now, low_priority=low_priority)


def _write_runs(
    subscription: Start, events: Sequence[Event], relayed: Relayed, now: datetime, *, low_priority: bool
) -> None:
    """Start runs together; if that fails, one by one, so that only the unreadable event is parked."""
    try:
        with transaction.atomic():
            started = start_runs(subscription, events, now=now)
    except (OperationalError, IntegrityError):
        raise  # the database fails, not the event: the next turn takes the event
    except Exception as error:  # one bad event must not hold up the others
        if len(events) == 1:
            logger.exception("event_parked", event_id=str(events[0].id), subscription=subscription.name)
            parked = f"{type(error).__name__}: {message_of(error)}"
            _write_deliveries(subscription, events, relayed, now, low_priority=low_priority, parked=parked)
            return
    else:
        relayed.wake_ups.extend(started.wake_ups)
        if started.waiting:
            _write_deliveries(subscription, started.waiting, relayed, now, low_priority=low_priority)
        return
    for event in events:
        _write_runs(subscription, [event], relayed, now, low_priority=low_priority)


def _write_deliveries(
    subscription: Subscription,
    events: Sequence[Event],
    relayed: Relayed,
    now: datetime,
    *,
    low_priority: bool,
    parked: str = "",
) -> None:
    """Write deliveries in one statement; an event that was relayed before has its delivery already.

    Args:
        parked: why they are parked from the start.
    """
    template = Delivery(subscription=subscription.name, low_priority=low_priority, due_at=now + resend_after(0))
    if parked:
        template.status, template.due_at, template.error = DeliveryStatus.PARKED, None, parked
    owed = insert_for_each(
        "unnest(%s::bigint[], %s::text[]) AS new (event, key)",
        [array(event.position for event in events), array(event.key for event in events)],
        [template],
        {"event_id": "new.event", "key": "new.key"},
    )
    if not parked:
        relayed.deliveries.extend(delivery_wake_ups(subscription.name, owed, low_priority=low_priority))
