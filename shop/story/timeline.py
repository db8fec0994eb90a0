"""The timeline of an order: all entries of the four contexts and of the engine, in order of time.

Read only; the number of queries does not depend on the order.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from sagas.core import registry
from sagas.core.statuses import Action, DeliveryStatus, InterventionStatus
from sagas.db.read import one_moment
from sagas.operations import queries as sagas
from sagas.operations.queries import Delivery, Event, Intervention, Journal

from .causes import Placed, in_order
from .effects import effects
from .entries import Entry, event_entry
from .reactions import is_choreographed, leaves_alone, status_of, title_of
from .run_entries import RANK_DEED, RANK_STEP, RANK_TRY, RunEntries, attempt_entry, by_hand, intervention
from .standing import Standing, standing_of
from .words import STAFF, Audience, at_most, error_of, is_retried, seconds_between, times, tries_of

_RANK_EFFECT, _RANK_EVENT = 4, 5
#: Possible causes of an event: the begun steps and deliveries, with the time of their beginning.
_Begun = Sequence[tuple[datetime, Placed]]


def timeline(order_id: UUID, *, to: Audience = STAFF) -> list[Entry]:
    """Return the timeline of an order, oldest first; causes before effects."""
    with one_moment():
        return _entries(order_id, sagas.journal(str(order_id)), to)


def story(order_id: UUID, *, now: datetime, to: Audience = STAFF) -> tuple[Standing, list[Entry]]:
    """Return the standing of an order, and its timeline; the journal is read once.

    Raises:
        LookupError: there is no such order.
    """
    with one_moment():
        journal = sagas.journal(str(order_id))
        return standing_of(order_id, journal, now=now, to=to), _entries(order_id, journal, to)


def _entries(order_id: UUID, journal: Journal, to: Audience) -> list[Entry]:
    events = {event.id: Placed(entry=event_entry(event), rank=_RANK_EVENT) for event in journal.events}
    placed = list(events.values())
    begun: dict[UUID, list[tuple[datetime, Placed]]] = defaultdict(list)
    for run in journal.runs:
        of_run = RunEntries(run, events.get(run.event_id), to)
        placed += of_run.placed
        begun[run.event_id] += of_run.steps
    choreographed = is_choreographed(journal)
    for event in journal.events:
        for delivery in event.deliveries.all():
            made = _delivery_entry(delivery, event, journal, to, choreographed=choreographed)
            owed = Placed(entry=made, rank=RANK_STEP, after=[events[event.id]])
            placed += [owed, *_beside(delivery, owed, events[event.id], to)]
            if delivery.started_at is not None and delivery.status != DeliveryStatus.SKIPPED:
                begun[event.id].append((delivery.started_at, owed))
    for event in journal.events:
        if event.causation_id is not None:
            events[event.id].after += _made_by(begun[event.causation_id], event.occurred_at)
    everything = [each for listed in begun.values() for each in listed]
    for entry in effects(order_id):
        placed.append(Placed(entry=entry, rank=_RANK_EFFECT, after=_made_by(everything, entry.at)))
    return in_order(placed)


def _made_by(begun: _Begun, at: datetime) -> list[Placed]:
    """Return the step or delivery that caused an entry: the last that had begun by then."""
    before = [each for each in begun if each[0] <= at]
    return [max(before, key=lambda each: each[0])[1]] if before else []


def _beside(delivery: Delivery, owed: Placed, event: Placed, to: Audience) -> Iterator[Placed]:
    """Yield the tries of a delivery, and the interventions on it; a skipped delivery comes after both."""
    skip = _skip_of(delivery)
    for attempt in delivery.tries.all():
        title = owed.entry.title
        yield Placed(entry=attempt_entry(title, attempt, to), rank=RANK_TRY, after=[owed if skip is None else event])
    for asked in delivery.interventions:
        deed = Placed(entry=intervention(asked), rank=RANK_DEED)
        if asked is skip:
            owed.after.append(deed)
        yield deed


def _skip_of(delivery: Delivery) -> Intervention | None:
    """Return the intervention that skipped a delivery, if there is one."""
    if delivery.status != DeliveryStatus.SKIPPED:
        return None
    done = (asked for asked in delivery.interventions if asked.status == InterventionStatus.DONE)
    return next((asked for asked in done if asked.action == Action.SKIP), None)


def _delivery_entry(delivery: Delivery, event: Event, journal: Journal, to: Audience, *, choreographed: bool) -> Entry:
    waiting = is_retried(delivery)
    left_alone = leaves_alone(delivery, journal, choreographed=choreographed)
    skip = _skip_of(delivery)
    if skip is not None:
        left_alone = by_hand(skip, "Left out", delivery.subscription.removeprefix("then-"), delivery.tries.all())
    # Before the first try, it is open since the relay took the event.
    begun_at = delivery.started_at or event.relayed_at or event.occurred_at
    return Entry(
        at=begun_at if skip is None else skip.done_at or skip.asked_at,
        kind="delivery",
        title=title_of(delivery.subscription, choreographed=choreographed),
        status=status_of(delivery, journal, choreographed=choreographed),
        detail=left_alone or _delivery_detail(delivery, to),
        duration_seconds=None if left_alone else seconds_between(delivery.started_at, delivery.finished_at),
        data={
            "id": delivery.pk,
            "subscription": delivery.subscription,
            "event": event.type,
            "attempts": delivery.attempts,
            "error": delivery.error,
        },
        next_try_at=delivery.retry_at if waiting else None,
    )


def _delivery_detail(delivery: Delivery, to: Audience) -> str:
    subscription = registry.subscription(delivery.subscription)
    if is_retried(delivery):
        policy = None if subscription is None else subscription.retry
        return f"Failed {times(delivery.attempts)}{at_most(policy)}; it will be tried again."
    if delivery.status in (DeliveryStatus.PARKED, DeliveryStatus.FAILED):
        return f"Gave up after {tries_of(delivery.attempts)}: {error_of(delivery, to)}"
    return f"at try {delivery.attempts}" if delivery.attempts > 1 else ""
