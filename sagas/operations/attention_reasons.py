"""Why a key waits for a person: the reasons, and the rows that show them. `attention` answers with these."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models import Q

from ..conf import ENGINE_QUEUE, RELAY_QUEUE
from ..core import registry
from ..core.statuses import LIVE_DELIVERIES, SETTLED_DELIVERIES, Action, DeliveryStatus, InterventionStatus, RunStatus
from ..engine.rules import is_to_undo
from ..models import Delivery, Event, Follower, Intervention, Run, StepRun
from . import heartbeats
from .followers import FollowerSubject
from .heartbeats import SILENT_AFTER
from .runs import RunSubject

#: The columns of events and deliveries that are read here.
EVENT_FIELDS = ("key", "type", "log_position", "occurred_at", "relayed_at")
DELIVERY_FIELDS = (
    "subscription", "key", "status", "retry_at", "due_at", "lease_token", "started_at", "finished_at", "error",
    "attempts",
    "event__relayed_at", "event__occurred_at",
)  # fmt: skip


class Why(StrEnum):
    """Why a key waits for a person."""

    STOPPED = "stopped"  #: its run can go neither forward nor back
    PAUSED = "paused"  #: a person paused its run
    HELD_BACK = "held_back"  #: a person paused a subscription that has open deliveries of it
    NOT_TAKEN = "not_taken"  #: work is due, and no worker serves its queue
    SWITCHED_OFF = "switched_off"  #: a delivery is open for a subscription that is switched off
    PARKED = "parked"  #: a delivery gave up
    FINDING = "finding"  #: the reconciliation has a finding about it


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One thing that waits for a person.

    Attributes:
        since: since when it waits; for work that no worker takes, since when it is due.
        name: name of the step, the subscription or the check; empty for work of the engine itself.
        message: the error, or the reason of the pause.
        by: name of the person who paused it.
        queue: the queue whose worker is missing.
        alive_at: last sign of life of that queue; None if there was none.
        ref: primary key of the run, delivery, subscription or finding.
    """

    why: Why
    since: datetime
    name: str = ""
    message: str = ""
    by: str = ""
    queue: str = ""
    alive_at: datetime | None = None
    tries: int = 0
    ref: str = ""


@dataclass(kw_only=True)
class Asked:
    """Interventions on runs and subscriptions: the newest pause, and the time of the last intervention."""

    pauses: dict[str, Intervention] = field(default_factory=dict)
    last_at: dict[str, datetime] = field(default_factory=dict)


class Found:
    """Collects what waits, by key."""

    def __init__(self, now: datetime, *, last_signs: Mapping[str, datetime]) -> None:
        self.now, self.last_signs = now, last_signs
        self.by_key: dict[str, list[Attention]] = defaultdict(list)

    def add(self, key: str, why: Why, since: datetime, **more: Any) -> None:
        self.by_key[key].append(Attention(why=why, since=since, **more))

    def add_late(self, key: str, since: datetime | None, queue: str, *, name: str = "", ref: str = "") -> None:
        """Add work that is overdue and whose queue is silent."""
        alive_at = self.last_signs.get(queue)
        if since is not None and since <= self.now - SILENT_AFTER and heartbeats.is_silent(alive_at, now=self.now):
            self.add(key, Why.NOT_TAKEN, since, name=name, queue=queue, alive_at=alive_at, ref=ref)


def people_asked(runs: Sequence[Run], followers: Iterable[Follower]) -> Asked:
    """Return what people asked of runs and subscriptions; one statement."""
    asked = Asked()
    of = Q(kind=RunSubject.kind, subject_id__in=[str(run.pk) for run in runs])
    of |= Q(kind=FollowerSubject.kind, subject_id__in=[row.pk for row in followers])
    done = Intervention.objects.filter(of, status=InterventionStatus.DONE)
    for row in sorted(done, key=lambda row: row.pk):
        ref = row.subject_id
        asked.last_at[ref] = row.done_at or row.asked_at
        if row.action == Action.PAUSE:
            asked.pauses[ref] = row
    return asked


def look_at_runs(found: Found, runs: Sequence[Run], asked: Asked) -> None:
    rows: dict[Any, list[StepRun]] = defaultdict(list)
    for row in StepRun.objects.filter(run__in=runs).order_by("place"):
        rows[row.run_id].append(row)
    for run in runs:
        here = next((row for row in rows[run.pk] if row.place == run.place), None)
        name = "" if here is None else here.name
        if run.status == RunStatus.NEEDS_ATTENTION:
            why = run.attention or {}
            found.add(
                run.key,
                Why.STOPPED,
                run.stopped_at or run.started_at,
                name=why.get("step") or name,
                message=why.get("message") or why.get("error", ""),
                ref=str(run.pk),
            )
        elif run.status == RunStatus.PAUSED:
            pause = asked.pauses.get(str(run.pk))
            found.add(
                run.key,
                Why.PAUSED,
                run.stopped_at or run.started_at,
                name=name,
                message="" if pause is None else pause.reason,
                by="" if pause is None else pause.by,
                ref=str(run.pk),
            )
        else:
            since = _due_since(run, here, rows[run.pk], asked.last_at.get(str(run.pk)))
            found.add_late(run.key, since, _queue_of(run, here), name=name, ref=str(run.pk))


def _due_since(run: Run, here: StepRun | None, rows: Sequence[StepRun], asked_at: datetime | None) -> datetime:
    """Return when the next work of a live run is or was due; for a call under way, the end of its lease."""
    if here is not None and here.held_until is not None:
        return here.held_until
    moments = [run.started_at, asked_at, *(row.finished_at for row in rows)]
    return max(moment for moment in moments if moment is not None)


def _queue_of(run: Run, here: StepRun | None) -> str:
    """Return the queue whose worker has to continue a live run."""
    turns = run.attention is not None or is_to_undo(run)
    if turns or here is None or run.saga not in registry.names():
        return ENGINE_QUEUE
    steps = (*registry.saga(run.saga).steps, *registry.saga(run.saga).after_undo)
    return next((step.queue for step in steps if step.name == here.step), ENGINE_QUEUE)


def look_at_events(found: Found, events: Iterable[Event], paused: Mapping[str, Follower], asked: Asked) -> None:
    """Add events that are not in the log, and those that wait for a paused subscription."""
    held: set[tuple[str, str]] = set()
    for event in sorted(events, key=lambda event: event.position):
        if event.log_position is None:
            found.add_late(event.key, event.occurred_at, RELAY_QUEUE)
        for row in paused.values():
            subscription = registry.subscription(row.name)
            is_owed = event.log_position is None or event.log_position > row.position
            if is_owed and subscription is not None and event.type in subscription.events:
                held.add((event.key, row.name))
    keys = {event.key for event in events}
    owed = Delivery.objects.filter(subscription__in=paused, key__in=keys, status__in=LIVE_DELIVERIES)
    held |= set(owed.values_list("key", "subscription"))
    for key, name in sorted(held):
        pause = asked.pauses.get(name)
        found.add(
            key,
            Why.HELD_BACK,
            paused[name].paused_at or found.now,
            name=name,
            message="" if pause is None else pause.reason,
            by="" if pause is None else pause.by,
            ref=name,
        )


def look_at_deliveries(found: Found, rows: Iterable[Delivery], paused: Collection[str]) -> None:
    """Add the head of each line of deliveries, in the order of events; the deliveries behind it wait for it."""
    settled_at: dict[tuple[str, str], datetime] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        line = (row.subscription, row.key)
        if row.status in SETTLED_DELIVERIES:
            if row.finished_at is not None:
                settled_at[line] = row.finished_at
        elif row.status == DeliveryStatus.PARKED:
            seen.add(line)
            found.add(
                row.key,
                Why.PARKED,
                row.started_at or row.event.occurred_at,
                name=row.subscription,
                message=row.error,
                tries=row.attempts,
                ref=str(row.pk),
            )
        elif line not in seen and row.subscription not in paused:
            seen.add(line)
            _look_at_open(found, row, settled_at.get(line))


def _look_at_open(found: Found, row: Delivery, settled_at: datetime | None) -> None:
    subscription = registry.subscription(row.subscription)
    relayed_at = row.event.relayed_at or row.event.occurred_at
    since = row.retry_at or (row.due_at if row.lease_token else max(relayed_at, settled_at or relayed_at))
    if subscription is not None:
        found.add_late(row.key, since, subscription.queue, name=row.subscription, ref=str(row.pk))
    elif since is not None and since <= found.now - SILENT_AFTER:
        found.add(row.key, Why.SWITCHED_OFF, since, name=row.subscription, ref=str(row.pk))
