"""How runs begin: an event becomes a run with its whole plan."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from .definition import Saga
from .errors import KeyIsBusy
from .models import Delivery, Event, Run, StepRun
from .plans import WakeUp, plan, wake_ups
from .subscriptions import Start
from .transitions import SETTLED_DELIVERIES


@dataclass(frozen=True, kw_only=True)
class Started:
    """The chains to send once the new runs are committed, and the events whose key has an open run: they wait."""

    wake_ups: list[WakeUp]
    waiting: list[Event]


def start(subscription: Start, events: Sequence[Event], *, now: datetime) -> Started:
    """Write the runs that `events` start.

    A key has one open run of a saga at most: an event that finds one waits until that run has ended, and so do the
    events behind it.

    Transaction: requires one.
    Idempotent: by (saga, event).
    """
    saga = subscription.saga
    planned = [plan(saga, event, now=now) for event in events]
    taken = set(
        Run.objects.filter(saga=saga.name, event_id__in=[event.id for event in events]).values_list(
            "event_id", flat=True
        )
    )
    busy = _busy_keys(subscription, {event.key for event in events})
    runs, rows, waiting = [], [], []
    for event, (run, steps) in zip(events, planned, strict=True):
        if event.id in taken:
            continue
        if run.key in busy:
            waiting.append(event)
            continue
        busy.add(run.key)
        runs.append(run)
        rows.extend(steps)
    Run.objects.bulk_create(runs)
    StepRun.objects.bulk_create(rows)
    return Started(wake_ups=wake_ups(runs, rows), waiting=waiting)


def start_waiting(saga: Saga[Any], event_id: UUID, *, now: datetime) -> None:
    """Start the run of an event that waited, or could not be read when it was relayed; the sweep sends it.

    Transaction: requires that of its delivery.

    Raises:
        KeyIsBusy: Retryable; another run of the key is still open.
    """
    event = Event.objects.get(id=event_id)
    if Run.objects.filter(saga=saga.name, event_id=event_id).exists():
        return
    if Run.objects.filter(saga=saga.name, key=event.key, finished_at=None).exists():
        raise KeyIsBusy(saga.name, event.key)
    run, rows = plan(saga, event, now=now)
    run.due_at = None if run.due_at is None else now
    run.save(force_insert=True)
    StepRun.objects.bulk_create(rows)


def _busy_keys(subscription: Start, keys: Collection[str]) -> set[str]:
    """Return those of `keys` that have an open run, or an event that waits for one to end."""
    open_runs = Run.objects.filter(saga=subscription.saga.name, key__in=keys, finished_at=None)
    waiting = Delivery.objects.filter(subscription=subscription.name, key__in=keys).exclude(
        status__in=SETTLED_DELIVERIES
    )
    return set(open_runs.values_list("key", flat=True).union(waiting.values_list("key", flat=True)))
