"""The current standing of an order, with reasons, in a few sentences and facts. Read only."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sagas.core.errors import FailureKind
from sagas.core.statuses import LIVE_RUNS, DeliveryStatus, RunStatus, StepStatus
from sagas.db.read import one_moment
from sagas.operations import queries as sagas
from sagas.operations.attention_reasons import Attention, Why
from sagas.operations.queries import Delivery, Journal, Run, StepRun

from . import reactions
from .attention import badges, sentence
from .situation import Situation, situation
from .words import STAFF, Audience, ended, error_of, is_retried, quoted, times, waits, words

#: With these reasons the run, or the whole order, makes no progress until a person acts.
_STANDS_STILL = (Why.STOPPED, Why.PAUSED, Why.NOT_TAKEN)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of the process, done or still to come."""

    name: str
    title: str
    status: str
    action: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The standing of an order.

    Attributes:
        run_status: status of its latest run; empty until the relay has started one.
        step: the step that is next or under way; empty when nothing is left to do.
        sentence: the standing and its reasons, for staff; what waits for a person comes first.
        reason: the error; empty if there is none.
        live: something of the order makes progress without a person.
        under_way: as `live`; a stopped or paused process is not under way, though its events may still be delivered.
        attention: what waits for a person.
        badges: the same, each in a few words.
        note: why there are no buttons, if there are none.
    """

    order_status: str
    run_id: UUID | None
    run_status: str
    step: str
    sentence: str
    reason: str
    next_try_at: datetime | None
    live: bool
    under_way: bool
    attention: tuple[Attention, ...]
    badges: tuple[str, ...]
    stages: tuple[Stage, ...]
    note: str = ""

    @property
    def needs_attention(self) -> bool:
        return bool(self.attention)


def standing(order_id: UUID, *, now: datetime) -> Standing:
    """Return the standing of an order.

    Raises:
        LookupError: there is no such order.
    """
    with one_moment():
        return standing_of(order_id, sagas.journal(str(order_id)), now=now)


def standing_of(order_id: UUID, journal: Journal, *, now: datetime, to: Audience = STAFF) -> Standing:
    """As `standing`, for a journal that was read already."""
    it = situation(order_id, journal, now=now, to=to)
    return Standing(
        order_status=it.order.status,
        run_id=None if it.run is None else it.run.id,
        run_status="" if it.run is None else it.run.status,
        step="" if it.row is None else it.row.name,
        sentence=" ".join(text for text in _sentences(it) if text),
        reason=_reason(it),
        next_try_at=_next_try_at(it),
        live=_is_live(it),
        under_way=_is_live(it) and not it.waits_because(Why.STOPPED, Why.PAUSED),
        attention=it.attention,
        badges=badges(it.attention),
        stages=tuple(_stages_of_reactions(journal) if it.run is None else _stages(it.run)),
        note=_note(it),
    )


# The sentences ---------------------------------------------------------------------------------------------------


def _sentences(it: Situation) -> Iterator[str]:
    """Yield sentences about what waits for a person, about the process, and about open deliveries."""
    if it.attention and not it.to.is_staff:
        yield "It waits for a person on our side."
    else:
        for each in it.attention:
            yield sentence(each, choreographed=it.choreographed)
    yield _process(it)
    if it.run is not None and it.is_over:
        yield from _still(it)


def _process(it: Situation) -> str:
    if it.run is None:
        return _among_themselves(it) if it.choreographed and it.journal.events else _not_begun(it)
    return _OF_RUN[RunStatus(it.run.status)](it, it.run)


def _not_begun(it: Situation) -> str:
    return "" if it.attention else "The order is saved; its process starts in a moment."


def _running(it: Situation, run: Run) -> str:
    if run.failure is None:
        return "" if it.waits_because(Why.NOT_TAKEN) else _now(it)
    return f"{_verdict(run, over=False)}: {quoted(run.failure, it.to)} What had been done is about to be undone."


def _undoing(it: Situation, run: Run) -> str:
    why = quoted(run.failure, it.to)
    return f"{_verdict(run, over=False)}: {why} What had been done is being undone. {_now(it)}"


def _undone(it: Situation, run: Run) -> str:
    return f"{_verdict(run, over=True)}: {quoted(run.failure, it.to)} All that had been done for it is undone."


def _stopped(_it: Situation, _run: Run) -> str:
    return "Nothing more happens by itself."


def _paused(it: Situation, run: Run) -> str:
    """Yield what happened before the pause, which has its own sentence."""
    if run.failure is not None:
        return f"{_verdict(run, over=False)}: {quoted(run.failure, it.to)}"
    return f"“{words(it.row.name)}” {_failed(it.row, it.to)}" if it.row is not None and waits(it.row) else ""


def _completed(it: Situation, _run: Run) -> str:
    return "All its steps are over." if it.attention else "Everything is done."


_OF_RUN: dict[RunStatus, Callable[[Situation, Run], str]] = {
    RunStatus.RUNNING: _running,
    RunStatus.UNDOING: _undoing,
    RunStatus.UNDONE: _undone,
    RunStatus.NEEDS_ATTENTION: _stopped,
    RunStatus.PAUSED: _paused,
    RunStatus.COMPLETED: _completed,
}
_VERDICTS: dict[tuple[str, bool], str] = {
    (FailureKind.CANCELLED, False): "It was cancelled",
    (FailureKind.CANCELLED, True): "It was cancelled",
    (FailureKind.UNDONE, False): "A person has it undone",
    (FailureKind.UNDONE, True): "A person had it undone",
}


def _verdict(run: Run, *, over: bool) -> str:
    kind = "" if run.failure is None else run.failure["kind"]
    return _VERDICTS.get((kind, over), "It could not be fulfilled" if over else "It cannot be fulfilled")


def _now(it: Situation) -> str:
    """Yield the state of the current step."""
    if it.row is None:
        return ""
    title = f"“{words(it.row.name)}”"
    if waits(it.row):
        return f"{title} {_failed(it.row, it.to)} It will be tried again."
    return f"{title} is under way." if it.row.status == StepStatus.RUNNING else f"{title} is next."


def _failed(row: StepRun, to: Audience) -> str:
    tries = list(row.tries.all())
    last = tries[-1] if tries else None
    said = "" if last is None else f" {ended(to.tell(last.kind, last.error, last.message))}"
    return f"failed {times(row.attempts)}:{said}"


def _among_themselves(it: Situation) -> str:
    """Yield the standing of a choreographed order: the contexts react to each other's events."""
    if it.under_way:
        return "" if it.waits_because(Why.NOT_TAKEN) else _next_reaction(it, it.under_way[0])
    if not it.is_relayed and it.order.status == "pending":
        return _not_begun(it) if len(it.journal.events) == 1 else "What comes next begins in a moment."
    if it.order.status == "pending":
        return "" if it.attention else "What comes next begins in a moment."
    if it.order.status == "confirmed":
        return "All its steps are over." if it.attention else "Everything is done."
    cause = error_of(it.failed[0], it.to) if it.failed else it.order.reason
    ended_as = "It was cancelled" if it.order.status == "cancelled" else "It could not be fulfilled"
    return f"{ended_as}: {ended(cause)} All that had been done for it is undone."


def _next_reaction(it: Situation, delivery: Delivery) -> str:
    title = it.title(delivery.subscription)
    if is_retried(delivery):
        said = ended(error_of(delivery, it.to))
        return f"{title} failed {times(delivery.attempts)}: {said} It will be tried again."
    return f"{title} is under way." if delivery.status == DeliveryStatus.RUNNING else f"{title} is next."


def _still(it: Situation) -> Iterator[str]:
    """Yield the open deliveries once the run is over: of each subscription the first one, and how many follow it."""
    owed: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in it.under_way:
        owed[delivery.subscription].append(delivery)
    for name, (first, *others) in owed.items():
        state = f"failed {times(first.attempts)}. It will be tried again." if is_retried(first) else _state(first)
        more = f" {len(others)} more {'event follows' if len(others) == 1 else 'events follow'}." if others else ""
        yield f"“{words(name)}” {state}{more}"


def _state(delivery: Delivery) -> str:
    return "is under way." if delivery.status == DeliveryStatus.RUNNING else "is still to come."


# The facts -------------------------------------------------------------------------------------------------------


def _reason(it: Situation) -> str:
    why = None if it.run is None else it.run.attention or it.run.failure
    if why is not None:
        return it.to.tell(why["kind"], why["error"], why["message"])
    parked = next((each for each in it.attention if each.why is Why.PARKED), None)
    if parked is not None:
        return it.to.tell(FailureKind.UNEXPECTED, "", parked.message)
    return error_of(it.failed[0], it.to) if it.failed else ""


def _next_try_at(it: Situation) -> datetime | None:
    """Return the time of the next try; None while the run is stopped, or no worker takes it."""
    if it.waits_because(*_STANDS_STILL):
        return None
    if it.row is not None and waits(it.row):
        return it.row.held_until
    return min((each.retry_at for each in it.under_way if each.retry_at is not None), default=None)


def _is_live(it: Situation) -> bool:
    if it.waits_because(Why.NOT_TAKEN):
        return False
    unstarted = it.run is None and it.order.status == "pending" and not it.attention
    runs = it.run is not None and it.run.status in LIVE_RUNS
    return unstarted or runs or bool(it.under_way) or not it.is_relayed


def _note(it: Situation) -> str:
    if not it.choreographed or it.order.status != "pending":
        return ""
    return (
        "No run conducts this order, so it cannot be cancelled, undone or paused here. A step that gives up can be"
        " tried again or left out."
    )


def _stages(run: Run) -> Iterator[Stage]:
    by_hand = {asked.applied_to for asked in sagas.skips(run)}
    for row in run.steps.all():
        status = "waiting" if waits(row) else row.status
        if row.name in by_hand and status == StepStatus.DONE:
            status = "skipped by hand"
        elif row.place == run.place and run.status == RunStatus.PAUSED:
            status = "paused"
        elif row.place == run.place and run.finished_at is None and status == StepStatus.PENDING:
            status = "next"
        yield Stage(name=row.name, title=words(row.name), status=status, action=row.action)


def _stages_of_reactions(journal: Journal) -> Iterable[Stage]:
    if reactions.is_choreographed(journal):
        for name, status, action in reactions.stages(journal):
            yield Stage(name=name, title=words(name), status=status, action=action)
