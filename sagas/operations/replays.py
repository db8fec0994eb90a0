"""Replays: every event of a range of time is owed to one subscription once more, portion by portion.

The intervention stores the position of its replay, so that any process can continue it.

Note [Whole lines]: a portion takes the next events of the log, together with all other events of their keys in the
range. So a new event comes after all replayed events of its key, and order per key is kept. A delivery that was made
after the replay was requested is not made again, so no portion repeats the work of an earlier one.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, F, Max, Min, QuerySet

from ..conf import conf
from ..core import registry
from ..core.statuses import Action, DeliveryStatus, InterventionStatus
from ..core.subscription import Subscription
from ..db.rows import array, insert_for_each
from ..engine.delivery_rows import heads_of, is_busy
from ..engine.limits import resend_after
from ..engine.wake_ups import DeliveryWakeUp, delivery_wake_ups_of
from ..models import Delivery, Event, Follower, Intervention
from . import interventions, subjects
from .interventions import Progress
from .subject import NotNow

#: Events of the log in a portion; bounds its transaction.
PORTION = 500


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The outcome of a portion.

    Attributes:
        events: number of events of the log that the portion covered.
        deliveries: the messages to send, once the portion is committed.
    """

    events: int = 0
    deliveries: list[DeliveryWakeUp] = field(default_factory=list)


def moment_from(text: str, name: str) -> datetime:
    """Return the moment that a person typed.

    Raises:
        NotNow: the text is no moment, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise NotNow(f"{name} is no moment: {text!r}. Write it as 2026-01-31T14:00Z.") from None
    if moment.tzinfo is None:
        raise NotNow(f"{name} has no time zone: {text!r}. Write {text.strip()}Z for UTC, or +02:00 behind it.")
    return moment


def ask(
    follower: Follower,
    *,
    since: datetime,
    until: datetime,
    reason: str,
    by: str,
    now: datetime,
    batch: UUID | None = None,
) -> UUID:
    """Write down the replay of a range to a follower; `work` executes it. Return the id of its batch.

    The range contains the events that occurred from `since` on and before `until`, of the types the subscription reacts
    to, up to the follower's position in the log: later events it gets anyway.

    Transaction: opens one.
    Idempotent: by `batch`.

    Raises:
        NotNow: the range is invalid or empty, there is no reason, or a replay to this follower is under way.
    """
    subscription = registry.subscription(follower.name)
    if subscription is None or Action.REPLAY not in subjects.possible(follower, now=now):
        raise NotNow(f"Nothing can be replayed to {follower.name}: it starts runs, one an event, or no code knows it.")
    _refuse_bad_range(since, until, now)
    if batch is not None and Intervention.objects.filter(batch=batch).exists():
        return batch
    terms = _terms(follower, subscription, since, until)
    try:
        return interventions.ask([follower], Action.REPLAY, reason=reason, by=by, now=now, replay=terms, batch=batch)
    except IntegrityError:
        raise NotNow(f"A replay to {follower.name} is under way; ask again once it is through.") from None


def _refuse_bad_range(since: datetime, until: datetime, now: datetime) -> None:
    if since.tzinfo is None or until.tzinfo is None:
        raise NotNow("A moment without a time zone may mean any hour: name one.")
    if until > now:
        raise NotNow(f"The range ends in the future ({until:%Y-%m-%d %H:%M:%S %Z}): what is to come is owed anyway.")
    if since >= until:
        raise NotNow(f"The range ends ({until:%Y-%m-%d %H:%M:%S %Z}) before it begins, or as it does.")


def _terms(follower: Follower, subscription: Subscription, since: datetime, until: datetime) -> dict[str, Any]:
    """Return the terms of a replay, as `Intervention.replay` describes them."""
    # Counted in the same statement: in a statement for the bounds only, the planner may walk all the log before the
    # range.
    found = (
        _within(subscription, since, until)
        .filter(log_position__lte=follower.position)
        .aggregate(first=Min("log_position"), end=Max("log_position"), total=Count("pk"))
    )
    if not found["total"]:
        raise NotNow(f"There is no event for {follower.name} from {since:%Y-%m-%d %H:%M:%S %Z} on and before the end.")
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "position": found["first"] - 1,
        "end": found["end"],
        "total": found["total"],
        "progressed": 0,
        "owed": 0,
    }


def _within(subscription: Subscription, since: datetime, until: datetime) -> QuerySet[Event]:
    return Event.objects.filter(occurred_at__gte=since, occurred_at__lt=until, type__in=subscription.events)


def work(*, now: datetime, batch: UUID | None = None) -> Replayed:
    """Make the next portion of the oldest replay, of one batch or of all, whose subscription can take deliveries.

    Any number of processes may work: one at a time moves a replay on.

    Transaction: opens one.
    Idempotent: by the position, which is stored in the transaction of the deliveries.
    """
    with transaction.atomic():
        pending = Intervention.objects.claimed().filter(status=InterventionStatus.PENDING, action=Action.REPLAY)
        for asked in pending.filter(batch=batch) if batch else pending:
            subscription = registry.subscription(asked.subject_id)
            if subscription is not None and not is_busy(subscription.name, conf.RELAY_LIMIT):
                return _portion(asked, subscription, now)
    return Replayed()


def _portion(asked: Intervention, subscription: Subscription, now: datetime) -> Replayed:
    terms = terms_of(asked)
    since, until = datetime.fromisoformat(terms["since"]), datetime.fromisoformat(terms["until"])
    left = _within(subscription, since, until).filter(
        log_position__gt=terms["position"], log_position__lte=terms["end"]
    )
    portion = list(left.order_by("log_position").values_list("log_position", "key")[:PORTION])
    keys = {key for _, key in portion}
    if portion:
        terms["owed"] += _owe_again(subscription, left.filter(key__in=keys), asked.asked_at, now)
        terms["position"], terms["progressed"] = portion[-1][0], terms["progressed"] + len(portion)
    if len(portion) < PORTION:
        asked.status, asked.done_at, asked.applied_to = InterventionStatus.DONE, now, subscription.name
        asked.outcome = _outcome(terms)
    asked.save(update_fields=["replay", "status", "done_at", "applied_to", "outcome"])
    return Replayed(events=len(portion), deliveries=delivery_wake_ups_of(heads_of([subscription.name], keys)))


def _owe_again(subscription: Subscription, lines: QuerySet[Event], asked_at: datetime, now: datetime) -> int:
    """Make deliveries that are done pending again, and write those that are missing; return how many there were."""
    events = list(lines.values_list("position", "key"))
    due_at = now + resend_after(0)
    again = Delivery.objects.filter(
        event__in=[position for position, _ in events],
        subscription=subscription.name,
        status=DeliveryStatus.DONE,
        finished_at__lt=asked_at,
    ).update(
        status=DeliveryStatus.PENDING,
        replays=F("replays") + 1,
        low_priority=True,
        attempts=0,
        lost_tries=0,
        resends=0,
        due_at=due_at,
        retry_at=None,
        started_at=None,
        finished_at=None,
    )
    missing = insert_for_each(
        "unnest(%s::bigint[], %s::text[]) AS new (event, key)",
        [array(position for position, _ in events), array(key for _, key in events)],
        [Delivery(subscription=subscription.name, low_priority=True, due_at=due_at)],
        {"event_id": "new.event", "key": "new.key"},
    )
    return again + len(missing)


def terms_of(asked: Intervention) -> dict[str, Any]:
    """Return the range and the progress of a replay, as text."""
    terms: dict[str, Any] = asked.replay or {}
    return terms


def _outcome(terms: dict[str, Any]) -> str:
    owed, total = terms["owed"], terms["total"]
    left = f"; {total - owed:,} were not done yet, or left out by hand" if total > owed else ""
    return f"{owed:,} of {total:,} events are owed once more{left}."


def progress(asked: Intervention) -> Progress:
    """Return the progress of a replay, in events of its range."""
    over = asked.status != InterventionStatus.PENDING
    terms = terms_of(asked)
    return Progress(total=terms["total"], done=terms["total"] if over else terms["progressed"], refused=0)
