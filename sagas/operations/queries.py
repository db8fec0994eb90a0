"""Questions about the journal, for whoever shows it to people."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Count, Min, OuterRef, Prefetch, Q, QuerySet, Subquery, Sum

from ..core import registry
from ..core.errors import FailureKind
from ..core.events import DomainEvent
from ..core.statuses import (
    LIVE_RUNS,
    OPEN_RUNS,
    Action,
    DeliveryStatus,
    FindingStatus,
    InterventionStatus,
    RunStatus,
    StepStatus,
)
from ..log import followers as log
from ..models import Attempt, Delivery, Event, Finding, Follower, Intervention, Reconciliation, Run, StepRun

E = TypeVar("E", bound=DomainEvent)

__all__ = [
    "LIVE_RUNS",
    "OPEN_RUNS",
    "Attempt",
    "Delivery",
    "DeliveryStatus",
    "Event",
    "Finding",
    "Intervention",
    "Journal",
    "Lag",
    "Run",
    "RunStatus",
    "StepRun",
    "StepStatus",
    "choreographed",
    "events_of",
    "findings",
    "followers",
    "journal",
    "lag_seconds",
    "latest_events",
    "movement",
    "open_findings",
    "owed",
    "parked",
    "pauses",
    "reconciled_seconds_ago",
    "runs",
    "skips",
    "somebody_waits_for_the_relay",
    "unanswered",
    "waiting_for_the_relay",
]


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How far a follower of the log is behind its end.

    Attributes:
        events: of the log that have yet to be owed to it.
        waiting: deliveries owed and not made.
        parked: deliveries that wait for a person.
        seconds: age of the oldest event that is not done, parked ones aside; 0 if there is none.
        paused_at: since when it stands still.
        is_known: this code has it; otherwise it is not taken on.
        is_switched_off: this code has it and is set not to make it; what comes it is not owed.
        error: why a read model stopped in front of the next event.
    """

    name: str
    events: int
    waiting: int
    parked: int
    seconds: float
    paused_at: datetime | None
    is_known: bool
    error: str = ""
    is_switched_off: bool = False

    @property
    def status(self) -> str:
        if self.paused_at is not None:
            return "paused"
        if self.is_switched_off:
            return "switched off here, owing" if self.waiting else "switched off here"
        if not self.is_known:
            return "unknown"
        if self.error:
            return "stopped"
        return "catching up" if self.events else "following"

    @property
    def told(self) -> str:
        """The figures, for people."""
        parts = [f"{self.events:,} events to come"] if self.events and not self.is_switched_off else []
        parts += [f"{self.waiting:,} deliveries wait"] if self.waiting else []
        parts += [f"the oldest for {self.seconds:,.0f} s"] if parts else ["nothing waits"]
        parts += [f"{self.parked:,} parked"] if self.parked else []
        return ", ".join([*parts, self.error] if self.error else parts)


@dataclass(frozen=True, kw_only=True)
class Journal:
    """All that is written down under one key: `steps`, `deliveries`, their `tries` and `interventions` are loaded."""

    runs: tuple[Run, ...]
    events: tuple[Event, ...]


def journal(key: str) -> Journal:
    """Return what happened under a key, oldest first; seven queries, however much it is."""
    tries = Prefetch("tries", Attempt.objects.order_by("number", "pk"))
    steps = Prefetch("steps", StepRun.objects.order_by("place").prefetch_related(tries))
    deliveries = Prefetch("deliveries", Delivery.objects.order_by("pk").prefetch_related(tries))
    runs = tuple(Run.objects.filter(key=key).order_by("id").prefetch_related(steps))
    events = tuple(Event.objects.filter(key=key).order_by("position").prefetch_related(deliveries))
    load_interventions(runs, [delivery for event in events for delivery in event.deliveries.all()])
    return Journal(runs=runs, events=events)


def load_interventions(runs: Sequence[Run], deliveries: Sequence[Delivery] = ()) -> None:
    """Put on each run and delivery what people did to it, as `interventions`; one statement."""
    rows: dict[tuple[str, str], Run | Delivery] = {("run", str(run.pk)): run for run in runs}
    rows |= {("delivery", str(delivery.pk)): delivery for delivery in deliveries}
    found: dict[tuple[str, str], list[Intervention]] = defaultdict(list)
    for asked in Intervention.objects.filter(subject_id__in=[pk for _, pk in rows]).order_by("pk"):
        found[asked.kind, asked.subject_id].append(asked)
    for ref, row in rows.items():
        row.interventions = found[ref]


def skips(run: Run) -> list[Intervention]:
    """Return who took which steps of a run as done; its interventions are loaded."""
    done = (asked for asked in run.interventions if asked.status == InterventionStatus.DONE)
    return [asked for asked in done if asked.action == Action.SKIP]


def unanswered(rows: Sequence[StepRun], owed: Sequence[Delivery]) -> dict[Any, int]:
    """Return how many tries of these steps and deliveries had no answer, by primary key of the run or the delivery.

    One whose worker is gone has none either.
    """
    tries = Attempt.objects.filter(Q(step__in=rows) | Q(delivery__in=owed), kind=FailureKind.UNKNOWN)
    of: Any = tries.values_list("step__run", "delivery")
    found = Counter(run_id or pk for run_id, pk in of)
    found.update(row.run_id for row in rows if row.status == StepStatus.RUNNING)
    return dict(found)


def pauses(refs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return who paused these subjects, by kind and primary key, and why."""
    asked = Intervention.objects.filter(
        subject_id__in=[pk for _, pk in refs], action=Action.PAUSE, status=InterventionStatus.DONE
    )
    return {(row.kind, row.subject_id): f"{row.by}: {row.reason}" for row in asked.order_by("pk")}


def events_of(key: str) -> list[Event]:
    """Return the events of a key in their order of writing; one statement."""
    return list(Event.objects.filter(key=key).order_by("position"))


def lag_seconds(*, now: datetime) -> float:
    """Return how long the oldest event has been waiting for the relay; 0 when none is."""
    # In the order of the index of what waits, `>=` and not `=`: otherwise the planner, whose statistics may be those of
    # a burst that is over, walks through all there ever was, by position, to find one that waits.
    waiting = (
        Event.objects.filter(log_position=None)
        .order_by("low_priority", "position")
        .values_list("occurred_at", flat=True)
    )
    oldest = [
        moment for moment in (waiting.first(), waiting.filter(low_priority__gte=True).first()) if moment is not None
    ]
    return max([0.0, *((now - moment).total_seconds() for moment in oldest)])


def followers(*, now: datetime) -> list[Lag]:
    """Return how far each follower of the log is, by name; five queries."""
    end = log.head()
    to_come = Event.objects.filter(log_position__gt=OuterRef("position")).order_by("log_position")
    rows = Follower.objects.annotate(oldest=Subquery(to_come.values("occurred_at")[:1])).order_by("name")
    open_ = Delivery.objects.filter(status__in=(DeliveryStatus.PENDING, DeliveryStatus.RUNNING, DeliveryStatus.PARKED))
    waits = ~Q(status=DeliveryStatus.PARKED)
    counted = open_.order_by().values("subscription").annotate(
        waiting=Count("pk", filter=waits), stopped=Count("pk", filter=~waits), first=Min("event_id", filter=waits)
    )  # fmt: skip
    owed: dict[str, dict[str, Any]] = {row["subscription"]: {**row} for row in counted}
    oldest = Event.objects.in_bulk([row["first"] for row in owed.values() if row["first"] is not None])
    return [_lag(row, owed.get(row.name, {}), oldest, end, now) for row in rows]


def _lag(row: Any, owed: Mapping[str, Any], events: Mapping[int, Event], end: int, now: datetime) -> Lag:
    moments = [row.oldest] if row.oldest is not None else []
    moments += [events[owed["first"]].occurred_at] if owed.get("first") else []
    return Lag(
        name=row.name,
        events=max(0, end - row.position),
        waiting=owed.get("waiting", 0),
        parked=owed.get("stopped", 0),
        seconds=max(0.0, (now - min(moments)).total_seconds()) if moments else 0.0,
        paused_at=row.paused_at,
        is_known=registry.subscription(row.name) is not None or registry.read_model(row.name.split(":")[0]) is not None,
        error=row.error,
        is_switched_off=registry.is_switched_off(row.name),
    )


def somebody_waits_for_the_relay() -> bool:
    """Say whether the relay has yet to take an event that is not of the bulk; one look into an index."""
    waiting = (
        Event.objects.filter(log_position=None)
        .order_by("low_priority", "position")
        .values_list("low_priority", flat=True)
    )
    return waiting.first() is False


def parked() -> int:
    """Return how many deliveries wait for a person."""
    return Delivery.objects.filter(status=DeliveryStatus.PARKED).count()


def movement(keys: Collection[str]) -> tuple[int, ...]:
    """Return figures that change whenever a run of these keys starts, gets on, or turns back."""
    runs = Run.objects.filter(key__in=keys).aggregate(runs=Count("id"), places=Sum("place"), epochs=Sum("epoch"))
    return tuple(figure or 0 for figure in runs.values())


def runs(keys: Collection[str]) -> dict[str, list[Run]]:
    """Return the runs of those keys that have any, oldest first, without what they hold; one statement."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in Run.objects.filter(key__in=keys).only("id", "saga", "key", "status").order_by("id"):
        found[run.key].append(run)
    return dict(found)


def choreographed(subscriptions: Collection[str], keys: Collection[str]) -> dict[str, bool]:
    """Return those keys that some of these subscriptions have reacted to or will, and whether that is still to come.

    To come is what is owed, parked or not, and what is in the log behind one of them that is paused or late. Two
    statements.
    """
    open_ = Q(status__in=(DeliveryStatus.PENDING, DeliveryStatus.RUNNING, DeliveryStatus.PARKED))
    owed = Delivery.objects.filter(event__key__in=keys, subscription__in=subscriptions)
    found = {
        key: bool(left)
        for key, left in owed.values("key").annotate(left=Count("pk", filter=open_)).values_list("key", "left")
    }
    known = set(subscriptions) & set(registry.subscription_names())
    slowest = Follower.objects.filter(name__in=known).order_by("position").values("position")[:1]
    to_come = Event.objects.filter(key__in=keys, log_position__gt=Subquery(slowest))
    return found | dict.fromkeys(to_come.values_list("key", flat=True), True)


def latest_events(keys: Collection[str], event: type[E]) -> dict[str, E]:
    """Return the newest event of a type that each of these keys has, as today's code reads it; one statement."""
    newest = Event.objects.filter(key__in=keys, type=event.type).order_by("key", "-position").distinct("key")
    found = newest.values_list("key", "data", "version")
    return {key: event.read(data, version=version) for key, data, version in found}


def waiting_for_the_relay(keys: Collection[str]) -> set[str]:
    """Return those keys of which the relay has yet to take an event; one statement."""
    return set(Event.objects.filter(key__in=keys, log_position=None).values_list("key", flat=True))


def owed(subscription: str, keys: Collection[str]) -> set[str]:
    """Return those keys of which something is owed to a subscription, parked or not; one statement."""
    waiting = Delivery.objects.filter(subscription=subscription, key__in=keys).exclude(
        status__in=(DeliveryStatus.DONE, DeliveryStatus.FAILED)
    )
    return set(waiting.values_list("key", flat=True))


def findings() -> QuerySet[Finding]:
    """Return the findings that wait for a person, oldest first; an index holds only those."""
    return Finding.objects.filter(status=FindingStatus.OPEN).order_by("pk")


def open_findings() -> int:
    """Return how many findings wait for a person."""
    return findings().count()


def reconciled_seconds_ago(*, now: datetime) -> float | None:
    """Return how long ago the reconciliation made its last turn; None if it never did."""
    turned_at = Reconciliation.objects.values_list("turned_at", flat=True).first()
    return None if turned_at is None else max(0.0, (now - turned_at).total_seconds())
