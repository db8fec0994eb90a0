"""Why does this order stand where it stands? Everything the four contexts and the engine wrote down about it, in
order of time, and one sentence that sums it up. Read only; the number of queries does not depend on the order.
"""  # noqa: D205

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orders import selectors as orders
from sagas.core import registry
from sagas.core.errors import DefinitionError, FailureKind, UnknownSagaError
from sagas.core.retry import Retry
from sagas.core.saga import Step
from sagas.db.read import one_moment
from sagas.operations import queries as sagas
from sagas.operations.queries import (  # fmt: skip
    Attempt,
    Delivery,
    DeliveryStatus,
    Event,
    Intervention,
    Journal,
    Run,
    RunStatus,
    StepRun,
    StepStatus,
)

from .effects import effects
from .entries import Entry, EntryKind, event_entry, seconds_between, words


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of the way, done or still to come."""

    name: str
    title: str
    status: str
    action: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where an order stands.

    Attributes:
        run_status: of its latest run; empty until the relay has started one.
        step: the step that is next or under way; empty when nothing is left to do.
        sentence: where it stands and why, for people.
        reason: what went wrong; empty if nothing did.
        live: something is still going to happen without anybody's doing.
        needs_attention: nothing is going to happen until a person does something.
        parked_delivery_ids: reactions that gave up.
    """

    order_status: str
    run_id: UUID | None
    run_status: str
    step: str
    sentence: str
    reason: str
    next_try_at: datetime | None
    live: bool
    needs_attention: bool
    parked_delivery_ids: tuple[int, ...]
    stages: tuple[Stage, ...]


def timeline(order_id: UUID) -> list[Entry]:
    """Return everything that happened to an order, oldest first; causes before effects of the same moment."""
    with one_moment():
        return _timeline(order_id, sagas.journal(str(order_id)))


def standing(order_id: UUID) -> Standing:
    """Say where an order stands.

    Raises:
        LookupError: there is no such order.
    """
    with one_moment():
        return _standing(order_id, sagas.journal(str(order_id)))


def story(order_id: UUID) -> tuple[Standing, list[Entry]]:
    """Return both, and read the journal once.

    Raises:
        LookupError: there is no such order.
    """
    with one_moment():
        journal = sagas.journal(str(order_id))
        return _standing(order_id, journal), _timeline(order_id, journal)


# The timeline ----------------------------------------------------------------------------------------------------

#: Among entries of one moment: what starts a run, the run, its steps, what they did, what they told.
_RANK: dict[EntryKind, int] = {
    "run": 1,
    "step": 2,
    "undo": 2,
    "attempt": 3,
    "reservation": 4,
    "payment": 4,
    "notification": 4,
    "event": 5,
    "delivery": 2,
    "intervention": 6,
}
_FIRST, _LAST, _NOT_REACHED = 0, 8, 7


def _timeline(order_id: UUID, journal: Journal) -> list[Entry]:
    starting = {run.event_id for run in journal.runs}
    ranked = [(_RANK[entry.kind], entry) for entry in effects(order_id)]
    for event in journal.events:
        ranked.append((_FIRST if event.id in starting else _RANK["event"], event_entry(event)))
        for delivery in event.deliveries.all():
            ranked += [(_RANK[entry.kind], entry) for entry in _delivery(delivery, event)]
    for run in journal.runs:
        ranked.append((_RANK["run"], _run_started(run)))
        ranked += [(_rank_of_step(entry), entry) for step in run.steps.all() for entry in _step(run, step)]
        ranked += [(_LAST, entry) for entry in _run_turned(run)]
    ranked += [(_RANK["intervention"], _intervention(asked)) for asked in journal.interventions]
    return [entry for _, entry in sorted(ranked, key=lambda item: (item[1].at, item[0]))]


def _rank_of_step(entry: Entry) -> int:
    """Put what was not reached behind the try that ended it all."""
    return _NOT_REACHED if entry.status == StepStatus.SKIPPED else _RANK[entry.kind]


def _run_started(run: Run) -> Entry:
    return Entry(
        at=run.started_at,
        kind="run",
        title=f"{words(run.saga)} started",
        status=run.status,
        duration_seconds=seconds_between(run.started_at, run.finished_at),
        data={"id": str(run.id), "saga": run.saga, "epoch": run.epoch},
    )


def _run_turned(run: Run) -> Iterator[Entry]:
    """Tell how a run went on after a failure, and how it ended."""
    data = {"id": str(run.id), "saga": run.saga}
    if run.failure is not None:
        yield Entry(
            at=_stopped_at(run, run.failure["step"]),
            kind="run",
            title=f"{words(run.saga)} turned back",
            status=RunStatus.UNDOING,
            detail=run.failure["message"],
            data=data | {"failure": run.failure},
        )
    if run.attention is not None:
        yield Entry(
            at=_stopped_at(run, run.attention["step"]),
            kind="run",
            title=f"{words(run.saga)} needs a person",
            status=RunStatus.NEEDS_ATTENTION,
            detail=run.attention["message"],
            data=data | {"attention": run.attention},
        )
    if run.finished_at is not None:
        ended = "undone" if run.status == RunStatus.UNDONE else "completed"
        yield Entry(
            at=run.finished_at,
            kind="run",
            title=f"{words(run.saga)} {ended}",
            status=run.status,
            duration_seconds=seconds_between(run.started_at, run.finished_at),
            data=data,
        )


#: Done; wanted.
_DEEDS = {
    "retry": ("retried", "retry"),
    "skip": ("skipped", "skip"),
    "undo": ("undid the order", "undo the order"),
    "cancel": ("cancelled the order", "cancel the order"),
    "pause": ("paused the order", "pause the order"),
    "resume": ("resumed the order", "resume the order"),
}


def _intervention(asked: Intervention) -> Entry:
    """Tell what a person did, or wanted, and why."""
    done, wanted = _DEEDS[asked.action]
    deed = {"done": done, "pending": f"wants to {wanted}", "refused": f"could not {wanted}"}[asked.status]
    at = "" if "order" in done else f" “{asked.applied_to}”" if asked.applied_to else " what failed"
    return Entry(
        at=asked.done_at or asked.asked_at,
        kind="intervention",
        title=f"{asked.by} {deed}{at}",
        status=asked.status,
        detail=f"{asked.reason} · {asked.outcome}" if asked.outcome else asked.reason,
        data={
            "id": asked.pk,
            "action": asked.action,
            "by": asked.by,
            "reason": asked.reason,
            "step": asked.applied_to,
            "outcome": asked.outcome,
            "result": asked.result,
            "asked_at": asked.asked_at.isoformat(),
        },
    )


def _stopped_at(run: Run, name: str) -> datetime:
    """Return when a step gave up; a deadline names no step, there the undo began at once."""
    rows = list(run.steps.all())
    stopped = [row.finished_at for row in rows if row.name == name and row.finished_at is not None]
    turned = [row.started_at for row in rows if row.action == StepRun.Action.UNDO and row.started_at is not None]
    return min(stopped or turned or [run.finished_at or run.due_at or run.started_at])


def _step(run: Run, row: StepRun) -> Iterator[Entry]:
    if row.status == StepStatus.SKIPPED:
        yield _skipped(run, row)
    if row.started_at is None:
        return
    step = _definition(run, row)
    waits = _waits(row)
    tried = [_attempt(words(row.name), attempt) for attempt in row.tries.all()]
    result = run.results.get(row.name)
    yield Entry(
        at=row.started_at,
        kind="undo" if row.action == StepRun.Action.UNDO else "step",
        title=words(row.name),
        status="waiting" if waits else row.status,
        detail=_step_detail(row, result, _policy(row, step)),
        duration_seconds=seconds_between(row.started_at, row.finished_at),
        data={
            "name": row.name,
            "step": row.step,
            "queue": "" if step is None else step.queue,
            "attempts": row.attempts,
            "idempotency_key": row.idempotency_key,
            "result": result,
        },
        next_try_at=row.held_until if waits else None,
    )
    yield from tried


def _skipped(run: Run, row: StepRun) -> Entry:
    """Tell why a step was left out: by its condition when the run began, or because the run turned back before it."""
    turned_back = run.failure is not None and row.place > _furthest(run)
    return Entry(
        at=_stopped_at(run, run.failure["step"]) if run.failure and turned_back else run.started_at,
        kind="step",
        title=words(row.name),
        status=StepStatus.SKIPPED,
        detail="Not reached." if turned_back else "Not needed for this order.",
        data={"name": row.name, "step": row.step},
    )


def _furthest(run: Run) -> int:
    """Return the place of the last step that was tried before the run turned back; -1 for none."""
    tried = (StepStatus.FAILED, StepStatus.UNDOING, StepStatus.UNDONE)
    return max((row.place for row in run.steps.all() if row.status in tried), default=-1)


def _step_detail(row: StepRun, result: dict[str, Any] | None, policy: Retry | None) -> str:
    tries = list(row.tries.all())
    if _waits(row):
        return f"Failed {_times(row.attempts)}{_of(policy)}; it will be tried again."
    if row.status == StepStatus.FAILED:
        refused = tries and tries[-1].kind == FailureKind.REJECTED
        return _ended(tries[-1].message) if refused else f"Gave up after {_tries(row.attempts)}."
    return " · ".join([*_listed(result), *([f"at try {row.attempts}"] if row.attempts > 1 else [])])


def _attempt(title: str, attempt: Attempt) -> Entry:
    return Entry(
        at=attempt.failed_at,
        kind="attempt",
        title=f"{title}: try {attempt.number} failed",
        status=attempt.kind,
        detail=attempt.message or attempt.error,
        duration_seconds=seconds_between(attempt.started_at, attempt.failed_at),
        data={
            "number": attempt.number,
            "error": attempt.error,
            "message": attempt.message,
            "traceback": attempt.traceback,
            "retry_at": None if attempt.retry_at is None else attempt.retry_at.isoformat(),
        },
    )


def _delivery(delivery: Delivery, event: Event) -> Iterator[Entry]:
    title, waits = _called(delivery.subscription), _is_retried(delivery)
    yield Entry(
        # Not tried yet, it is owed since the relay took the event on.
        at=delivery.started_at or event.relayed_at or event.occurred_at,
        kind="delivery",
        title=title,
        status="waiting" if waits else delivery.status,
        detail=_delivery_detail(delivery),
        duration_seconds=seconds_between(delivery.started_at, delivery.finished_at),
        data={
            "id": delivery.pk,
            "subscription": delivery.subscription,
            "event": event.type,
            "attempts": delivery.attempts,
            "error": delivery.error,
        },
        next_try_at=delivery.retry_at if waits else None,
    )
    for attempt in delivery.tries.all():
        yield _attempt(title, attempt)


def _is_retried(delivery: Delivery) -> bool:
    return delivery.status == DeliveryStatus.PENDING and delivery.retry_at is not None


def _delivery_detail(delivery: Delivery) -> str:
    subscription = registry.subscription(delivery.subscription)
    if _is_retried(delivery):
        policy = None if subscription is None else subscription.retry
        return f"Failed {_times(delivery.attempts)}{_of(policy)}; it will be tried again."
    if delivery.status in (DeliveryStatus.PARKED, DeliveryStatus.FAILED):
        return f"Gave up after {_tries(delivery.attempts)}: {_error(delivery)}"
    return f"at try {delivery.attempts}" if delivery.attempts > 1 else ""


# The standing ----------------------------------------------------------------------------------------------------


def _standing(order_id: UUID, journal: Journal) -> Standing:
    order = orders.order(order_id)
    if order is None:
        raise LookupError(f"there is no order {order_id}")
    run = journal.runs[-1] if journal.runs else None
    owed = [delivery for event in journal.events for delivery in event.deliveries.all()]
    parked = [delivery for delivery in owed if delivery.status == DeliveryStatus.PARKED]
    under_way = [delivery for delivery in owed if delivery.status in (DeliveryStatus.PENDING, DeliveryStatus.RUNNING)]
    row = None if run is None else _current(run)
    unstarted = run is None and order.status == "pending" and not parked
    tries = [delivery.retry_at for delivery in under_way if delivery.retry_at is not None]
    return Standing(
        order_status=order.status,
        run_id=None if run is None else run.id,
        run_status="" if run is None else run.status,
        step="" if row is None else row.name,
        sentence=" ".join(
            [
                _sentence(run, row) if run is not None or not owed else _among_themselves(order, under_way, parked),
                *(_gave_up(delivery) for delivery in parked),
                *_still(under_way, run),
            ]
        ).strip(),
        reason=_reason(run, parked),
        next_try_at=row.held_until if row is not None and _waits(row) else min(tries, default=None),
        live=unstarted or bool(under_way) or (run is not None and run.status in sagas.LIVE_RUNS),
        needs_attention=bool(parked) or (run is not None and run.status == RunStatus.NEEDS_ATTENTION),
        parked_delivery_ids=tuple(delivery.pk for delivery in parked),
        stages=() if run is None else tuple(_stages(run)),
    )


def _current(run: Run) -> StepRun | None:
    """Return the step that is next, under way, or where the run stopped."""
    if run.finished_at is not None:
        return None
    return next((row for row in run.steps.all() if row.place == run.place), None)


def _sentence(run: Run | None, row: StepRun | None) -> str:
    if run is None:
        return "The order is saved; its process starts in a moment."
    if run.status == RunStatus.RUNNING and run.failure is None:
        return _now(row)
    why, at = _quoted(run.attention or run.failure), "" if row is None else f" at “{words(row.name)}”"
    called_off = (run.failure or {}).get("kind") == FailureKind.CANCELLED
    cannot = "It was called off" if called_off else "It cannot be fulfilled"
    could_not = "It was called off" if called_off else "It could not be fulfilled"
    return {
        RunStatus.RUNNING: f"{cannot}: {why} What had been done is about to be undone.",
        RunStatus.UNDOING: f"{cannot}: {why} What had been done is being undone. {_now(row)}",
        RunStatus.UNDONE: f"{could_not}: {why} All that had been done for it is undone.",
        RunStatus.NEEDS_ATTENTION: f"It is stuck{at} and needs a person: {why} Nothing more happens by itself.",
        RunStatus.PAUSED: "It was paused and waits until somebody lets it go on.",
        RunStatus.COMPLETED: "Everything is done.",
    }[RunStatus(run.status)]


def _among_themselves(order: orders.Order, under_way: list[Delivery], parked: list[Delivery]) -> str:
    """Say where an order stands that no run conducts: the contexts react to each other's events."""
    if under_way:
        return _next_reaction(under_way[0])
    if parked:
        return ""  # which follows
    return {
        "pending": "What comes next begins in a moment.",
        "confirmed": "Everything is done.",
        "rejected": f"It could not be fulfilled: {_ended(order.reason)} All that had been done for it is undone.",
    }.get(order.status, f"It was called off: {_ended(order.reason)}")


def _next_reaction(delivery: Delivery) -> str:
    title = f"“{_called(delivery.subscription)}”"
    if not _is_retried(delivery):
        return f"{title} is under way." if delivery.status == DeliveryStatus.RUNNING else f"{title} is next."
    return f"{title} did not work {_times(delivery.attempts)}: {_ended(_error(delivery))} It will be tried again."


def _called(subscription: str) -> str:
    return words(subscription.removeprefix("then-"))


def _now(row: StepRun | None) -> str:
    if row is None:
        return ""
    title = f"“{words(row.name)}”"
    if not _waits(row):
        return f"{title} is under way." if row.status == StepStatus.RUNNING else f"{title} is next."
    last = row.tries.all()[len(row.tries.all()) - 1] if row.tries.all() else None
    said = "" if last is None else f" {_ended(last.message or last.error)}"
    return f"{title} did not work {_times(row.attempts)}:{said} It will be tried again."


def _gave_up(delivery: Delivery) -> str:
    tries = _tries(delivery.attempts)
    return f"“{_called(delivery.subscription)}” gave up after {tries} and needs a person: {_ended(_error(delivery))}"


def _error(delivery: Delivery) -> str:
    """Return what the last try said; an event that could not even be read had none."""
    said = [attempt.message for attempt in delivery.tries.all()]
    return said[-1] if said and said[-1] else delivery.error


def _still(under_way: list[Delivery], run: Run | None) -> Iterator[str]:
    """Say what is still owed, once the run itself has nothing more to say."""
    if run is None or run.finished_at is None:
        return
    for delivery in under_way:
        waits = " It will be tried again." if delivery.retry_at else ""
        failed = f"did not work {_times(delivery.attempts)}." if delivery.attempts else "is still to come."
        yield f"“{words(delivery.subscription)}” {failed}{waits}"


def _reason(run: Run | None, parked: list[Delivery]) -> str:
    if run is not None and (why := run.attention or run.failure):
        return str(why["message"])
    return _error(parked[0]) if parked else ""


def _stages(run: Run) -> Iterator[Stage]:
    for row in run.steps.all():
        status = "waiting" if _waits(row) else row.status
        if row.place == run.place and run.finished_at is None and status == StepStatus.PENDING:
            status = "next"
        yield Stage(name=row.name, title=words(row.name), status=status, action=row.action)


# Words -----------------------------------------------------------------------------------------------------------


def _waits(row: StepRun) -> bool:
    """Say whether a step failed and waits for its next try; one with a lease is under way."""
    open_ = row.status in (StepStatus.PENDING, StepStatus.UNKNOWN)
    return open_ and row.held_until is not None and row.lease_token is None


def _definition(run: Run, row: StepRun) -> Step | None:
    try:
        return registry.saga(run.saga).step(row.step)
    except (UnknownSagaError, DefinitionError):
        return None


def _policy(row: StepRun, step: Step | None) -> Retry | None:
    if step is None:
        return None
    return step.undo_retry if row.action == StepRun.Action.UNDO else step.retry


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _tries(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"


def _of(policy: Retry | None) -> str:
    return "" if policy is None else f" of at most {policy.attempts}"


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _quoted(why: dict[str, Any] | None) -> str:
    return "" if why is None else _ended(why["message"] or why["error"])


def _listed(result: dict[str, Any] | None) -> list[str]:
    """Return what a step handed on, but for ids: they stand in the data."""
    shown = {name: value for name, value in (result or {}).items() if not name.endswith("_id")}
    return [f"{name.replace('_', ' ')}: {value}" for name, value in shown.items()]
