"""What needs a person: runs that stand still and parked deliveries, narrowed down, in one list, a page at a time.

A further kind joins `_lines`, `groups`, `fetch` and `facts`; the pages and the command take it from there. Findings of
the reconciliation stand beside the list: no run is behind them to act on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db.models import Count, Exists, F, Func, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce

from ..core import registry
from ..core.registry import KeyLabel
from ..core.statuses import OPEN_RUNS, STOPPED_RUNS, DeliveryStatus, RunStatus
from ..models import Attempt, Delivery, Follower, Run, StepRun
from . import interventions, queries
from .interventions import Action, Subject

Kind = Literal["run", "delivery", "follower"]


#: Of runs: paused, or in need of a person.
STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which runs and deliveries are meant; what is empty narrows nothing.

    Attributes:
        process: name of a saga or a subscription.
        step: where a run stands; deliveries have none.
        error: name of the exception that was the last word.
        status: of runs, `stopped` for all that stand still; deliveries are always parked ones, and meant only where
            those in need of a person are.
    """

    kind: str = ""
    process: str = ""
    step: str = ""
    error: str = ""
    status: str = ""
    key: str = ""

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> "Filter":
        """Read it from a query string; other parameters are not ours."""
        return cls(**{name: str(query.get(name) or "").replace("\x00", "") for name in cls.__dataclass_fields__})

    def narrowed(self) -> dict[str, str]:
        """Return what narrows, for a query string."""
        return {name: value for name, value in asdict(self).items() if value}

    def runs(self) -> QuerySet[Run]:
        """Return the open runs that are meant: what is over, nobody can do anything about."""
        if self.kind not in ("", "run"):
            return Run.objects.none()
        found = Run.objects.filter(status__in=STOPPED_RUNS if self.status == STOPPED else OPEN_RUNS)
        found = found.filter(status=self.status) if self.status not in ("", STOPPED) else found
        here = StepRun.objects.filter(run=OuterRef("pk"), place=OuterRef("place"))
        if self.step:
            found = found.filter(Q(attention__step=self.step) | Exists(here.filter(name=self.step)))
        if self.error:
            failed = Attempt.objects.filter(step__run=OuterRef("pk"), step__place=OuterRef("place"), error=self.error)
            found = found.filter(Q(attention__error=self.error) | Q(attention=None) & Exists(failed))
        named = {"saga": self.process, "key": self.key}
        return found.filter(**{name: value for name, value in named.items() if value})

    def deliveries(self) -> QuerySet[Delivery]:
        """Return the parked deliveries that are meant."""
        of_runs = self.step or self.status not in ("", STOPPED, RunStatus.NEEDS_ATTENTION, DeliveryStatus.PARKED)
        if self.kind not in ("", "delivery") or of_runs:
            return Delivery.objects.none()
        found = Delivery.objects.filter(status=DeliveryStatus.PARKED)
        if self.error:
            found = found.filter(Q(error=self.error) | Q(error__startswith=f"{self.error}:"))
        named = {"subscription": self.process, "key": self.key}
        return found.filter(**{name: value for name, value in named.items() if value})


#: All that needs a person.
WAITING = Filter(status=STOPPED)


@dataclass(frozen=True, kw_only=True)
class Group:
    """How many wait for the same reason."""

    kind: Kind
    process: str
    step: str
    error: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a person wants to know of one before they decide.

    Attributes:
        pk: of the run, delivery or follower.
        process: its saga or subscription.
        since: when it came to stand still; of one that does not, when it began.
        paused: by whom, and the reason that was given; empty unless it is paused.
        unanswered: tries of the step or delivery of which no answer came: each may have taken effect.
        named: what people call its key, if they call it anything.
        seen: where it stands, as a button remembers it.
        actions: what may be done now.
    """

    kind: Kind
    pk: str
    process: str
    status: str
    step: str
    error: str
    error_kind: str
    message: str
    tries: int
    since: datetime
    key: str
    named: KeyLabel | None
    seen: str
    actions: tuple[Action, ...]
    paused: str = ""
    unanswered: int = 0

    @property
    def pick(self) -> str:
        return f"{self.kind}:{self.pk}@{self.seen}"

    @property
    def title(self) -> str:
        return self.key if self.named is None else self.named.text


def groups(meant: Filter, kinds: Iterable[str] = ("run", "delivery")) -> list[Group]:
    """Return how many are meant, by what they wait for; a query a kind."""
    found: list[Group] = []
    if "run" in kinds:
        rows = meant.runs().order_by().values_list("saga", KT("attention__step"), KT("attention__error"))
        found += [_group("run", row) for row in rows.annotate(count=Count("pk"))]
    if "delivery" in kinds:
        fault = Func(F("error"), Value(":"), Value(1), function="split_part", output_field=TextField())
        parked = meant.deliveries().order_by().annotate(step_name=Value(""), fault=fault)
        counted = parked.values_list("subscription", "step_name", "fault").annotate(count=Count("pk"))
        found += [_group("delivery", row) for row in counted]
    return sorted(found, key=lambda group: -group.count)


def _group(kind: Kind, row: Sequence[Any]) -> Group:
    process, step, error, count = row
    return Group(kind=kind, process=process, step=step or "", error=error or "", count=count)


def page(
    meant: Filter, *, offset: int = 0, limit: int = 50, kinds: Iterable[str] = ("run", "delivery")
) -> list[Subject]:
    """Return some of those that are meant, who waits longest first; three queries."""
    lines = _lines(meant, kinds)
    if not lines:
        return []
    rows = lines[0].union(*lines[1:], all=True).order_by("since", "ref")[offset : offset + limit]
    return fetch([(kind, ref) for kind, ref, _ in rows])


def _lines(meant: Filter, kinds: Iterable[str]) -> list[QuerySet[Any, Any]]:
    """Return a query a kind, of the same three columns."""
    last_try = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("-pk").values("failed_at")[:1]
    parked_since = Coalesce(Subquery(last_try), "started_at", "event__occurred_at")
    each: dict[str, tuple[QuerySet[Any, Any], Any]] = {
        "run": (meant.runs(), Coalesce("stopped_at", "started_at")),
        "delivery": (meant.deliveries(), parked_since),
    }
    return [
        rows.order_by()
        .annotate(what=Value(kind), ref=Cast("pk", TextField()), since=since)
        .values_list("what", "ref", "since")
        for kind, (rows, since) in each.items()
        if kind in kinds
    ]


def fetch(refs: Sequence[tuple[str, str]]) -> list[Subject]:
    """Return these runs, deliveries and followers in this order, as far as there are such; a query a kind."""
    named: dict[str, list[str]] = defaultdict(list)
    for kind, ref in refs:
        named[kind].append(ref)
    found: dict[tuple[str, str], Subject] = {}
    if "run" in named:
        found |= {("run", str(run.pk)): run for run in Run.objects.filter(pk__in=named["run"])}
    if "delivery" in named:
        owed = Delivery.objects.select_related("event").filter(pk__in=named["delivery"])
        found |= {("delivery", str(delivery.pk)): delivery for delivery in owed}
    if "follower" in named:
        found |= {("follower", row.pk): row for row in Follower.objects.filter(pk__in=named["follower"])}
    return [found[ref] for ref in refs if ref in found]


def facts(subjects: Sequence[Subject], *, now: datetime) -> list[Facts]:
    """Return what is known of each; five queries and what the project needs to name the keys."""
    runs = [subject for subject in subjects if isinstance(subject, Run)]
    owed = [subject for subject in subjects if isinstance(subject, Delivery)]
    here = {row.run_id: row for row in StepRun.objects.filter(run__in=runs, place=F("run__place"))}
    last = _last_tries(list(here.values()), owed)
    unanswered = queries.unanswered(list(here.values()), owed)
    pauses = queries.pauses(subjects)
    names = registry.named({run.key for run in runs} | {delivery.key for delivery in owed})
    return [
        replace(
            _of(subject, here, last, names, now),
            paused=pauses.get(str(subject.pk), ""),
            unanswered=unanswered.get(subject.pk, 0),
        )
        for subject in subjects
    ]


_Tries = Mapping[tuple[int | None, int | None], Attempt]


def _last_tries(rows: Sequence[StepRun], owed: Sequence[Delivery]) -> _Tries:
    tries = Attempt.objects.filter(Q(step__in=rows) | Q(delivery__in=owed))
    last = tries.defer("traceback").order_by("step", "delivery", "-pk").distinct("step", "delivery")
    return {(attempt.step_id, attempt.delivery_id): attempt for attempt in last}


def _of(
    subject: Subject, here: Mapping[UUID, StepRun], last: _Tries, names: Mapping[str, KeyLabel], now: datetime
) -> Facts:
    if isinstance(subject, Run):
        return _of_run(subject, here.get(subject.pk), last, names.get(subject.key), now)
    if isinstance(subject, Delivery):
        return _of_delivery(subject, last.get((None, subject.pk)), names.get(subject.key), now)
    return _of_follower(subject, now)


def _of_run(run: Run, row: StepRun | None, last: _Tries, named: KeyLabel | None, now: datetime) -> Facts:
    failed = None if row is None else last.get((row.pk, None))
    said = {"kind": failed.kind, "error": failed.error, "message": failed.message} if failed is not None else {}
    why = run.attention or run.failure or said
    return Facts(
        kind="run",
        pk=str(run.pk),
        process=run.saga,
        status=run.status,
        step=why.get("step") or ("" if row is None else row.name),
        error=why.get("error", ""),
        error_kind=why.get("kind", ""),
        message=why.get("message", ""),
        tries=0 if row is None else row.attempts,
        since=run.stopped_at or run.started_at,
        key=run.key,
        named=named,
        seen=interventions.seen(run),
        actions=tuple(interventions.possible(run, row, now=now)),
    )


def _of_delivery(delivery: Delivery, failed: Attempt | None, named: KeyLabel | None, now: datetime) -> Facts:
    error, _, message = delivery.error.partition(": ")
    return Facts(
        kind="delivery",
        pk=str(delivery.pk),
        process=delivery.subscription,
        status=delivery.status,
        step="",
        error=error if failed is None else failed.error,
        error_kind="" if failed is None else failed.kind,
        message=message if failed is None else failed.message,
        tries=delivery.attempts,
        since=delivery.started_at or delivery.event.occurred_at if failed is None else failed.failed_at,
        key=delivery.key,
        named=named,
        seen=interventions.seen(delivery),
        actions=tuple(interventions.possible(delivery, now=now)),
    )


def _of_follower(follower: Follower, now: datetime) -> Facts:
    return Facts(
        kind="follower",
        pk=follower.name,
        process=follower.name,
        status=follower.status,
        step="",
        error="",
        error_kind="",
        message="",
        tries=0,
        since=follower.paused_at or follower.began_at,
        key=follower.name,
        named=None,
        seen=interventions.seen(follower),
        actions=tuple(interventions.possible(follower, now=now)),
    )


def of_key(key: str) -> list[Run | Delivery]:
    """Return the open run and the parked deliveries of a key; two queries."""
    return [*Filter(key=key).runs(), *Filter(key=key).deliveries().select_related("event").order_by("pk")]


def result_example(run: Run, step: str) -> dict[str, Any] | None:
    """Return what the step handed on in one of the saga's newest runs, as an example for who takes it as done."""
    newest = Run.objects.filter(saga=run.saga).order_by("-pk").values_list("results", flat=True)[:50]
    return next((results[step] for results in newest if results.get(step)), None)
