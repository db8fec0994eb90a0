"""Queries of the journal, for pages and commands."""

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
    OPEN_DELIVERIES,
    Action,
    DeliveryStatus,
    FindingStatus,
    InterventionStatus,
    StepStatus,
)
from ..log import followers as log
from ..models import Attempt, Delivery, Event, Finding, Follower, Intervention, Reconciliation, Run, StepRun

E = TypeVar("E", bound=DomainEvent)

#: With the rows that the queries return: a project names their types, and does not import `sagas.models`.
__all__ = [
    "Attempt",
    "Delivery",
    "Event",
    "Intervention",
    "Journal",
    "Lag",
    "Run",
    "StepRun",
    "choreographed",
    "events_of",
    "findings",
    "followers",
    "interactive_events_wait",
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
    "unanswered",
    "waiting_for_the_relay",
]


@dataclass(frozen=True, kw_only=True)
class Lag:
    """The lag of a follower behind the head of the log.

    Attributes:
        events: number of events of the log behind its position.
        waiting: number of open deliveries.
        parked: number of deliveries that wait for a person.
        seconds: age of the oldest event that is not done, without parked ones; 0 if there is none.
        paused_at: since when it is paused.
        is_known: this code has it; other followers do not move.
        is_switched_off: it is switched off in this code; it gets no new deliveries.
        error: error of a read model at the next event.
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
    def figures(self) -> str:
        """The figures, for people."""
        parts = [f"{self.events:,} events to come"] if self.events and not self.is_switched_off else []
        parts += [f"{self.waiting:,} deliveries wait"] if self.waiting else []
        parts += [f"the oldest for {self.seconds:,.0f} s"] if parts else ["nothing waits"]
        parts += [f"{self.parked:,} parked"] if self.parked else []
        return ", ".join([*parts, self.error] if self.error else parts)


@dataclass(frozen=True, kw_only=True)
class Journal:
    """All rows of one key: `steps`, `deliveries`, their `tries` and `interventions` are loaded."""

    runs: tuple[Run, ...]
    events: tuple[Event, ...]


def journal(key: str) -> Journal:
    """Return all rows of a key, oldest first; always seven queries."""
    tries = Prefetch("tries", Attempt.objects.order_by("number", "pk"))
    steps = Prefetch("steps", StepRun.objects.order_by("place").prefetch_related(tries))
    deliveries = Prefetch("deliveries", Delivery.objects.order_by("pk").prefetch_related(tries))
    runs = tuple(Run.objects.filter(key=key).order_by("id").prefetch_related(steps))
    events = tuple(Event.objects.filter(key=key).order_by("position").prefetch_related(deliveries))
    load_interventions(runs, [delivery for event in events for delivery in event.deliveries.all()])
    return Journal(runs=runs, events=events)


def load_interventions(runs: Sequence[Run], deliveries: Sequence[Delivery] = ()) -> None:
    """Set on each run and delivery its interventions, as `interventions`; one statement."""
    rows: dict[tuple[str, str], Run | Delivery] = {("run", str(run.pk)): run for run in runs}
    rows |= {("delivery", str(delivery.pk)): delivery for delivery in deliveries}
    found: dict[tuple[str, str], list[Intervention]] = defaultdict(list)
    for asked in Intervention.objects.filter(subject_id__in=[pk for _, pk in rows]).order_by("pk"):
        found[asked.kind, asked.subject_id].append(asked)
    for ref, row in rows.items():
        row.interventions = found[ref]


def skips(run: Run) -> list[Intervention]:
    """Return the interventions that skipped steps of a run; the run's interventions are loaded."""
    done = (asked for asked in run.interventions if asked.status == InterventionStatus.DONE)
    return [asked for asked in done if asked.action == Action.SKIP]


def unanswered(rows: Sequence[StepRun], owed: Sequence[Delivery]) -> dict[Any, int]:
    """Return the number of tries of these steps and deliveries without an answer, by primary key of run or delivery.

    A try whose worker is gone has no answer either.
    """
    tries = Attempt.objects.filter(Q(step__in=rows) | Q(delivery__in=owed), kind=FailureKind.UNKNOWN)
    of: Any = tries.values_list("step__run", "delivery")
    found = Counter(run_id or pk for run_id, pk in of)
    found.update(row.run_id for row in rows if row.status == StepStatus.RUNNING)
    return dict(found)


def pauses(refs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return person and reason of the latest pause of these subjects, by kind and primary key."""
    asked = Intervention.objects.filter(
        subject_id__in=[pk for _, pk in refs], action=Action.PAUSE, status=InterventionStatus.DONE
    )
    return {(row.kind, row.subject_id): f"{row.by}: {row.reason}" for row in asked.order_by("pk")}


def events_of(key: str) -> list[Event]:
    """Return the events of a key in their order of writing; one statement."""
    return list(Event.objects.filter(key=key).order_by("position"))


def lag_seconds(*, now: datetime) -> float:
    """Return how long the oldest event has been waiting for the relay; 0 if none is waiting."""
    # In the order of the partial index on new events, with `>=` and not `=`: otherwise the planner, whose statistics
    # may be from a past burst, walks through all events by position to find a new one.
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
    """Return the lag of each follower of the log, by name; five queries."""
    end = log.head()
    to_come = Event.objects.filter(log_position__gt=OuterRef("position")).order_by("log_position")
    rows = Follower.objects.annotate(oldest=Subquery(to_come.values("occurred_at")[:1])).order_by("name")
    open_ = Delivery.objects.filter(status__in=OPEN_DELIVERIES)
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


def interactive_events_wait() -> bool:
    """Say whether an event that is not of low priority waits for the relay; one index lookup."""
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
    """Return figures that change whenever a run of these keys starts, moves on, or changes direction."""
    runs = Run.objects.filter(key__in=keys).aggregate(runs=Count("id"), places=Sum("place"), epochs=Sum("epoch"))
    return tuple(figure or 0 for figure in runs.values())


def runs(keys: Collection[str]) -> dict[str, list[Run]]:
    """Return the runs of these keys, oldest first, without input and results; one statement."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in Run.objects.filter(key__in=keys).only("id", "saga", "key", "status").order_by("id"):
        found[run.key].append(run)
    return dict(found)


def choreographed(subscriptions: Collection[str], keys: Collection[str]) -> dict[str, bool]:
    """Return the keys with reactions of some of these subscriptions, and whether a reaction is still to come.

    Still to come: open deliveries, parked or not, and events of the log behind a subscription that is paused or late.
    Two statements.
    """
    owed = Delivery.objects.filter(event__key__in=keys, subscription__in=subscriptions)
    still = Count("pk", filter=Q(status__in=OPEN_DELIVERIES))
    found = {key: bool(left) for key, left in owed.values("key").annotate(left=still).values_list("key", "left")}
    known = set(subscriptions) & set(registry.subscription_names())
    slowest = Follower.objects.filter(name__in=known).order_by("position").values("position")[:1]
    to_come = Event.objects.filter(key__in=keys, log_position__gt=Subquery(slowest))
    return found | dict.fromkeys(to_come.values_list("key", flat=True), True)


def latest_events(keys: Collection[str], event: type[E]) -> dict[str, E]:
    """Return the newest event of a type of each of these keys, as the current code reads it; one statement."""
    newest = Event.objects.filter(key__in=keys, type=event.type).order_by("key", "-position").distinct("key")
    found = newest.values_list("key", "data", "version")
    return {key: event.read(data, version=version) for key, data, version in found}


def waiting_for_the_relay(keys: Collection[str]) -> set[str]:
    """Return the keys with an event that waits for the relay; one statement."""
    return set(Event.objects.filter(key__in=keys, log_position=None).values_list("key", flat=True))


def owed(subscription: str, keys: Collection[str]) -> set[str]:
    """Return the keys with an open delivery of a subscription, parked or not; one statement."""
    waiting = Delivery.objects.filter(subscription=subscription, key__in=keys).exclude(
        status__in=(DeliveryStatus.DONE, DeliveryStatus.FAILED)
    )
    return set(waiting.values_list("key", flat=True))


def findings() -> QuerySet[Finding]:
    """Return the findings that wait for a person, oldest first; a partial index holds only those."""
    return Finding.objects.filter(status=FindingStatus.OPEN).order_by("pk")


def open_findings() -> int:
    """Return how many findings wait for a person."""
    return findings().count()


def reconciled_seconds_ago(*, now: datetime) -> float | None:
    """Return how long ago the reconciliation made its last turn; None if it has made none."""
    turned_at = Reconciliation.objects.values_list("turned_at", flat=True).first()
    return None if turned_at is None else max(0.0, (now - turned_at).total_seconds())
