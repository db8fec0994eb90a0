"""Everything the four contexts and the engine wrote down about an order, in order of time.

Read only; the number of queries does not depend on the order.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sagas import registry
from sagas import selectors as sagas
from sagas.definition import Step
from sagas.errors import DefinitionError, Kind, UnknownSagaError
from sagas.reading import one_moment
from sagas.retry import Retry
from sagas.selectors import (
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
)  # fmt: skip

from .effects import effects
from .entries import Entry, EntryKind, event_entry
from .standing import Standing, standing_of
from .words import at_most, called, ended, error_of, is_retried, listed, seconds_between, times, tries_of, waits, words


def timeline(order_id: UUID) -> list[Entry]:
    """Return everything that happened to an order, oldest first; causes before effects of the same moment."""
    with one_moment():
        return told(order_id, sagas.journal(str(order_id)))


def story(order_id: UUID) -> tuple[Standing, list[Entry]]:
    """Return both, and read the journal once.

    Raises:
        LookupError: there is no such order.
    """
    with one_moment():
        journal = sagas.journal(str(order_id))
        return standing_of(order_id, journal), told(order_id, journal)


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


def told(order_id: UUID, journal: Journal) -> list[Entry]:
    starting = {run.event_id for run in journal.runs}
    ranked = [(_RANK[entry.kind], entry) for entry in effects(order_id)]
    for event in journal.events:
        ranked.append((_FIRST if event.id in starting else _RANK["event"], event_entry(event)))
        for delivery in event.deliveries.all():
            ranked += [(_RANK[entry.kind], entry) for entry in _delivery(delivery, event)]
            ranked += [(_RANK["intervention"], _intervention(asked)) for asked in delivery.interventions.all()]
    for run in journal.runs:
        ranked.append((_RANK["run"], _run_started(run)))
        ranked += [(_rank_of_step(entry), entry) for step in run.steps.all() for entry in _step(run, step)]
        ranked += [(_LAST, entry) for entry in _run_turned(run)]
        ranked += [(_RANK["intervention"], _intervention(asked)) for asked in run.interventions.all()]
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
            status=RunStatus.COMPENSATING,
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
        ended = "undone" if run.status == RunStatus.COMPENSATED else "completed"
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
    at = "" if "order" in done else f" “{asked.step}”" if asked.step else " what failed"
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
            "step": asked.step,
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
    waiting = waits(row)
    tried = [_attempt(words(row.name), attempt) for attempt in row.tries.all()]
    result = run.results.get(row.name)
    yield Entry(
        at=row.started_at,
        kind="undo" if row.action == StepRun.Action.UNDO else "step",
        title=words(row.name),
        status="waiting" if waiting else row.status,
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
        next_try_at=row.held_until if waiting else None,
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
    if waits(row):
        return f"Failed {times(row.attempts)}{at_most(policy)}; it will be tried again."
    if row.status == StepStatus.FAILED:
        refused = tries and tries[-1].kind == Kind.REJECTED
        return ended(tries[-1].message) if refused else f"Gave up after {tries_of(row.attempts)}."
    return " · ".join([*listed(result), *([f"at try {row.attempts}"] if row.attempts > 1 else [])])


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
    title, waiting = called(delivery.subscription), is_retried(delivery)
    yield Entry(
        # Not tried yet, it is owed since the relay took the event on.
        at=delivery.started_at or event.relayed_at or event.occurred_at,
        kind="delivery",
        title=title,
        status="waiting" if waiting else delivery.status,
        detail=_delivery_detail(delivery),
        duration_seconds=seconds_between(delivery.started_at, delivery.finished_at),
        data={
            "id": delivery.pk,
            "subscription": delivery.subscription,
            "event": event.type,
            "attempts": delivery.attempts,
            "error": delivery.error,
        },
        next_try_at=delivery.retry_at if waiting else None,
    )
    for attempt in delivery.tries.all():
        yield _attempt(title, attempt)


def _delivery_detail(delivery: Delivery) -> str:
    subscription = registry.subscription(delivery.subscription)
    if is_retried(delivery):
        policy = None if subscription is None else subscription.retry
        return f"Failed {times(delivery.attempts)}{at_most(policy)}; it will be tried again."
    if delivery.status in (DeliveryStatus.PARKED, DeliveryStatus.FAILED):
        return f"Gave up after {tries_of(delivery.attempts)}: {error_of(delivery)}"
    return f"at try {delivery.attempts}" if delivery.attempts > 1 else ""


def _definition(run: Run, row: StepRun) -> Step | None:
    try:
        return registry.saga(run.saga).step(row.step)
    except (UnknownSagaError, DefinitionError):
        return None


def _policy(row: StepRun, step: Step | None) -> Retry | None:
    if step is None:
        return None
    return step.undo_retry if row.action == StepRun.Action.UNDO else step.retry
