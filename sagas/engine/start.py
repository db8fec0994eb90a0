"""Starts runs: an event becomes a run with its whole plan."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ..core.errors import KeyIsBusy
from ..core.ids import new_id
from ..core.saga import Saga
from ..core.statuses import LIVE_RUNS, SETTLED_DELIVERIES
from ..core.subscription import Start
from ..db.rows import array, insert_for_each
from ..models import Delivery, Event, Run, StepRun
from .limits import portions
from .plan import plan, skipped
from .wake_ups import WakeUp, tasks_of


@dataclass(frozen=True, kw_only=True)
class Started:
    """The chains to send once the new runs are committed, and the waiting events: their key has an open run."""

    wake_ups: list[WakeUp]
    waiting: list[Event]


def start_runs(subscription: Start, events: Sequence[Event], *, now: datetime) -> Started:
    """Write the runs that `events` start.

    A key has at most one open run of a saga: an event waits until that run has ended, and so do the events behind it.

    Transaction: requires one.
    Idempotent: by (saga, event).
    """
    saga = subscription.saga
    shape_of = {event.id: skipped(saga, saga.input.read(event.data, version=event.version)) for event in events}
    busy = _lines(subscription, [event.key for event in events])
    waiting = []
    alike: dict[tuple[bool, tuple[bool, ...]], list[Event]] = defaultdict(list)
    for event in events:
        if event.key in busy:
            waiting.append(event)
            continue
        busy.add(event.key)
        alike[event.low_priority, shape_of[event.id]].append(event)
    started = Started(wake_ups=[], waiting=waiting)
    for (_, left_out), same in alike.items():
        _insert(saga, same, left_out, started, now)
    return started


def _insert(
    saga: Saga[Any], events: Sequence[Event], left_out: Sequence[bool], started: Started, now: datetime
) -> None:
    """Write the runs of events of one priority whose plans leave out the same steps, in two statements."""
    run, rows = plan(saga, events[0], now=now, left_out=left_out)
    event_of = {new_id(): event for event in events}
    run_ids = insert_for_each(
        "unnest(%s::uuid[], %s::bigint[]) AS new (id, position) JOIN sagas_event AS event USING (position)",
        [array(event_of), array(event.position for event in events)],
        [run],
        _OF_ITS_EVENT,
    )
    if len(run_ids) < len(events):
        new = set(run_ids)
        started.waiting.extend(_whose_key_is_busy(saga, [event for pk, event in event_of.items() if pk not in new]))
    insert_for_each(
        "unnest(%s::uuid[]) AS new (id)",
        [array(run_ids)],
        rows,
        {"run_id": "new.id", "idempotency_key": "new.id || ':' || template.step"},
    )
    if run.status in LIVE_RUNS:
        tasks = tuple(tasks_of(run, rows))
        started.wake_ups.extend(
            WakeUp(run_ids=tuple(portion), epoch=run.epoch, tasks=tasks, low_priority=run.low_priority)
            for portion in portions(run_ids)
        )


#: The columns that a run takes from the event that starts it; the others are the same for all runs of one plan.
_OF_ITS_EVENT = {
    "id": "new.id",
    "key": "event.key",
    "input": "event.data",
    "input_version": "event.version",
    "event_id": "event.id",
} | {name: f"event.{name}" for name in ("correlation_id", "traceparent", "low_priority")}


def start_waiting(saga: Saga[Any], event_id: UUID, *, now: datetime) -> None:
    """Start the run of an event that waited, or that could not be read when it was relayed; the sweep sends it.

    Transaction: requires the transaction of its delivery.

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


def _whose_key_is_busy(saga: Saga[Any], refused: Sequence[Event]) -> list[Event]:
    """Return the events whose key has an open run; the others have their run already, for they are relayed again."""
    runs = Run.objects.filter(saga=saga.name, event_id__in=[event.id for event in refused])
    taken = set(runs.values_list("event_id", flat=True))
    return [event for event in refused if event.id not in taken]


def _lines(subscription: Start, keys: Collection[str]) -> set[str]:
    """Return those of `keys` with an event that waits for a run to end."""
    waiting = Delivery.objects.filter(subscription=subscription.name, key__in=keys).exclude(
        status__in=SETTLED_DELIVERIES
    )
    return set(waiting.values_list("key", flat=True))
