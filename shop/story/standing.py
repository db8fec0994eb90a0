"""Where an order stands and why, in one sentence and a few facts. Read only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orders import selectors as orders
from sagas import selectors as sagas
from sagas.errors import Kind
from sagas.reading import one_moment
from sagas.selectors import Delivery, DeliveryStatus, Journal, Run, RunStatus, StepRun, StepStatus

from .words import called, ended, error_of, is_retried, quoted, times, tries_of, waits, words


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


def standing(order_id: UUID) -> Standing:
    """Say where an order stands.

    Raises:
        LookupError: there is no such order.
    """
    with one_moment():
        return standing_of(order_id, sagas.journal(str(order_id)))


def standing_of(order_id: UUID, journal: Journal) -> Standing:
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
        next_try_at=row.held_until if row is not None and waits(row) else min(tries, default=None),
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
    why, at = quoted(run.attention or run.failure), "" if row is None else f" at “{words(row.name)}”"
    called_off = (run.failure or {}).get("kind") == Kind.CANCELLED
    cannot = "It was called off" if called_off else "It cannot be fulfilled"
    could_not = "It was called off" if called_off else "It could not be fulfilled"
    return {
        RunStatus.RUNNING: f"{cannot}: {why} What had been done is about to be undone.",
        RunStatus.COMPENSATING: f"{cannot}: {why} What had been done is being undone. {_now(row)}",
        RunStatus.COMPENSATED: f"{could_not}: {why} All that had been done for it is undone.",
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
        "rejected": f"It could not be fulfilled: {ended(order.reason)} All that had been done for it is undone.",
    }.get(order.status, f"It was called off: {ended(order.reason)}")


def _next_reaction(delivery: Delivery) -> str:
    title = f"“{called(delivery.subscription)}”"
    if not is_retried(delivery):
        return f"{title} is under way." if delivery.status == DeliveryStatus.RUNNING else f"{title} is next."
    return f"{title} did not work {times(delivery.attempts)}: {ended(error_of(delivery))} It will be tried again."


def _now(row: StepRun | None) -> str:
    if row is None:
        return ""
    title = f"“{words(row.name)}”"
    if not waits(row):
        return f"{title} is under way." if row.status == StepStatus.RUNNING else f"{title} is next."
    last = row.tries.all()[len(row.tries.all()) - 1] if row.tries.all() else None
    said = "" if last is None else f" {ended(last.message or last.error)}"
    return f"{title} did not work {times(row.attempts)}:{said} It will be tried again."


def _gave_up(delivery: Delivery) -> str:
    tries = tries_of(delivery.attempts)
    return f"“{called(delivery.subscription)}” gave up after {tries} and needs a person: {ended(error_of(delivery))}"


def _still(under_way: list[Delivery], run: Run | None) -> Iterator[str]:
    """Say what is still owed, once the run itself has nothing more to say."""
    if run is None or run.finished_at is None:
        return
    for delivery in under_way:
        waits = " It will be tried again." if delivery.retry_at else ""
        failed = f"did not work {times(delivery.attempts)}." if delivery.attempts else "is still to come."
        yield f"“{words(delivery.subscription)}” {failed}{waits}"


def _reason(run: Run | None, parked: list[Delivery]) -> str:
    if run is not None and (why := run.attention or run.failure):
        return str(why["message"])
    return error_of(parked[0]) if parked else ""


def _stages(run: Run) -> Iterator[Stage]:
    for row in run.steps.all():
        status = "waiting" if waits(row) else row.status
        if row.place == run.place and run.finished_at is None and status == StepStatus.PENDING:
            status = "next"
        yield Stage(name=row.name, title=words(row.name), status=status, action=row.action)
