"""What waits for a person about a key, and since when: one answer for its page, for lists, filters and figures.

`of` checks everything about some keys. `keys` returns the keys to check, from partial indexes on open rows.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db.models import Q

from ..conf import RELAY_QUEUE
from ..core import registry
from ..core.statuses import LIVE_DELIVERIES, LIVE_RUNS, STOPPED_RUNS, DeliveryStatus, FindingStatus
from ..models import Delivery, Event, Finding, Follower, Run
from . import heartbeats
from .attention_reasons import (
    DELIVERY_FIELDS,
    EVENT_FIELDS,
    Attention,
    Found,
    Why,
    look_at_deliveries,
    look_at_events,
    look_at_runs,
    people_asked,
)

#: Maximum number of keys of each kind; lists of the admin count as far (`backoffice`).
MAX_KEYS = 10_000
#: Maximum number of rows of due work that are read.
_MAX_LATE = 1000


def of(keys: Collection[str], *, now: datetime) -> dict[str, list[Attention]]:
    """Return what waits for a person, by key; nine statements, however many keys."""
    found = Found(now, last_signs=heartbeats.last_signs())
    runs = list(Run.objects.filter(key__in=keys, finished_at=None).defer("input", "results").order_by("id"))
    paused = {row.name: row for row in Follower.objects.filter(paused_at__isnull=False)}
    asked = people_asked(runs, paused.values())
    look_at_runs(found, runs, asked)
    events = Event.objects.filter(key__in=keys).only(*EVENT_FIELDS).in_bulk()
    look_at_events(found, events.values(), paused, asked)
    owed = sorted(Delivery.objects.filter(event__in=events), key=lambda row: (row.event_id, row.pk))
    for row in owed:
        row.event = events[row.event_id]
    look_at_deliveries(found, owed, paused)
    for finding in Finding.objects.filter(key__in=keys, status=FindingStatus.OPEN).order_by("pk"):
        found.add(
            finding.key,
            Why.FINDING,
            finding.found_at,
            name=finding.check_name,
            message=finding.message,
            ref=str(finding.pk),
        )
    return found.by_key


def keys(*, now: datetime) -> set[str]:
    """Return every key that waits for a person, up to `MAX_KEYS` of each kind."""
    found = Finding.objects.filter(status=FindingStatus.OPEN).order_by("pk").values_list("key", flat=True)
    return stuck_keys(now=now) | set(found[:MAX_KEYS])


def stuck_keys(*, now: datetime) -> set[str]:
    """As `keys`, without keys that have only a finding."""
    return blocked_keys() | set(late(now=now)) | _switched_off_keys(now=now)


def blocked_keys() -> set[str]:
    """As `stuck_keys`, without work that a worker may still take: these keys make no progress without a person."""
    open_ = [
        Run.objects.filter(status__in=STOPPED_RUNS).order_by("started_at"),
        Delivery.objects.filter(status=DeliveryStatus.PARKED).order_by("pk"),
        *_held_back(),
    ]
    return {key for rows in open_ for key in rows.values_list("key", flat=True)[:MAX_KEYS]}


def late(*, now: datetime) -> dict[str, list[Attention]]:
    """Return the work that is due and that no worker takes, by key, up to a thousand of each kind."""
    signs = heartbeats.last_signs()
    without = {queue for queue in heartbeats.queues() if heartbeats.is_silent(signs.get(queue), now=now)}
    if not without:
        return {}
    found = Found(now, last_signs=signs)
    if RELAY_QUEUE in without:
        waiting = Event.objects.filter(log_position=None).order_by("low_priority", "position")
        for key, at in waiting.values_list("key", "occurred_at")[:_MAX_LATE]:
            found.add_late(key, at, RELAY_QUEUE)
    runs = list(Run.objects.filter(status__in=LIVE_RUNS).defer("input", "results").order_by("due_at")[:_MAX_LATE])
    look_at_runs(found, runs, people_asked(runs, ()))
    paused = set(Follower.objects.filter(paused_at__isnull=False).values_list("name", flat=True))
    served_there = {one.name for one in registry.subscriptions() if one.queue in without} - paused
    owed = Delivery.objects.filter(subscription__in=served_there, status__in=LIVE_DELIVERIES).select_related("event")
    look_at_deliveries(found, owed.order_by("subscription", "key", "event").only(*DELIVERY_FIELDS)[:_MAX_LATE], ())
    return found.by_key


def _switched_off_keys(*, now: datetime) -> set[str]:
    """Return the keys with due deliveries of subscriptions that this code does not know."""
    names = list(Follower.objects.exclude(name__in=registry.subscription_names()).values_list("name", flat=True))
    due_before = now - heartbeats.SILENT_AFTER
    owed = Delivery.objects.filter(
        Q(retry_at=None) | Q(retry_at__lte=due_before),
        subscription__in=names,
        status__in=LIVE_DELIVERIES,
        event__relayed_at__lte=due_before,
    )
    return set(owed.order_by("subscription", "key", "event").values_list("key", flat=True)[:MAX_KEYS])


def _held_back() -> list[Any]:
    """Return what paused subscriptions hold back: one statement for open deliveries, one for events of the log."""
    paused = list(Follower.objects.filter(paused_at__isnull=False))
    names = [row.name for row in paused]
    owed = Delivery.objects.filter(subscription__in=names, status__in=LIVE_DELIVERIES)
    to_come = [
        Event.objects.filter(log_position__gt=row.position, type__in=subscription.events).order_by("log_position")
        for row in paused
        if (subscription := registry.subscription(row.name)) is not None
    ]
    return [owed.order_by("subscription", "key", "event"), *to_come] if names else []
