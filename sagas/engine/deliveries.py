"""Deliveries: an event owed to a subscription, in order per key, until it is done or parked."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from ..core import registry
from ..core.cause import Cause, caused_by, caused_by_each
from ..core.errors import FailureKind, Retryable, TransactionRefusedError, WorkerLostError, kind_of
from ..core.ids import new_id
from ..core.saga import Failure
from ..core.statuses import SETTLED_DELIVERIES, DeliveryStatus
from ..core.subscription import Received, Subscription
from ..db.rows import update_all
from ..db.storable import message_of
from ..db.time_limit import time_limit
from ..models import Delivery, Event, Follower
from .limits import lease_of, limit_of, portions, resend_after
from .plan import MAX_LOST_TRIES, MAX_RESENDS, SUSPECT_LOST_TRIES
from .tries import check_constraints, failed_try

logger = structlog.get_logger(__name__)

_OPEN = (DeliveryStatus.PENDING, DeliveryStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class DeliveryWakeUp:
    """A message to send: these deliveries of one subscription may be due."""

    delivery_ids: tuple[int, ...]
    task: str
    queue: str
    #: Nobody sits and waits for these deliveries.
    low_priority: bool = False
    #: A batch has left this delivery; it yields to others, as a run does.
    single: bool = False


def wake_ups_for(
    name: str, ids: Sequence[int], *, low_priority: bool = False, single: bool = False
) -> list[DeliveryWakeUp]:
    """Return the messages that carry deliveries of one subscription, in their order; none if it is unknown.

    Args:
        alone: each gets a message of its own, for a batch has left it.
    """
    subscription = registry.subscription(name)
    if subscription is None:
        logger.warning("unknown_subscription", subscription=name, deliveries=len(ids))
        return []
    return [
        DeliveryWakeUp(
            delivery_ids=tuple(portion),
            task=subscription.task,
            queue=subscription.queue,
            low_priority=low_priority,
            single=single,
        )
        for portion in portions(ids, single=single)
    ]


def wake_ups_of(deliveries: Iterable[Delivery], *, single: bool = False) -> list[DeliveryWakeUp]:
    """As `wake_ups_for`, of rows; what is parked stays."""
    ids: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.status != DeliveryStatus.PARKED:
            ids[delivery.subscription, delivery.low_priority].append(delivery.pk)
    return [
        wake_up
        for (name, low_priority), owed in ids.items()
        for wake_up in wake_ups_for(name, owed, low_priority=low_priority, single=single)
    ]


def deliver(*, delivery_ids: Sequence[int], clock: Callable[[], datetime]) -> list[DeliveryWakeUp]:
    """Make what is due of these deliveries; return the messages for those that stood in line behind them.

    Those of a batch that were not surely made are among the messages, one each (rule 8).

    Transaction: refuses one; opens its own.
    Idempotent: by delivery; an outside reaction may run again after a crash and is idempotent by its own key.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("deliveries commit their own transactions")
    left: list[Delivery] = []
    if len(delivery_ids) == 1:
        finished = _one(delivery_ids[0], clock)
    else:
        finished, left = _batch(delivery_ids, clock)
    return [*wake_ups_of(left, single=True), *wake_ups_of(_next_in_line(finished))]


def _batch(pks: Sequence[int], clock: Callable[[], datetime]) -> tuple[list[Delivery], list[Delivery]]:
    """Make deliveries together where their subscription can; return those done, and those to be sent alone."""
    _count_lost_tries(pks, clock())
    finished: list[Delivery] = []
    left: list[Delivery] = []
    with transaction.atomic():
        now = clock()
        outside: list[tuple[Subscription, list[Delivery]]] = []
        for subscription, claimed in _by_subscription(_first_in_line(pks, now)):
            fit = [delivery for delivery in claimed if _fits_a_batch(delivery, subscription)]
            left += _without(claimed, fit)
            if subscription.outside:
                for delivery in fit:
                    _lease(delivery, subscription, now)
                update_all(fit, _FIELDS)
                outside.append((subscription, fit))
            else:
                for delivery in fit:
                    _begin(delivery, now)
                done = _react_to_many(subscription, fit, now)
                _settle_done(done, clock())
                finished += done
                left += _without(fit, done)
    for subscription, leased in outside:
        done = _react_to_many(subscription, leased, now)
        finished += _settle_many(leased, done, clock())
        left += _without(leased, done)
    return finished, left


def _fits_a_batch(delivery: Delivery, subscription: Subscription | None) -> bool:
    """Say whether it may be made together with others: a first try, and nothing speaks against its success.

    Tries in a batch are not counted, so a policy allows one of them at most.
    """
    can = subscription is not None and subscription.many is not None
    return can and delivery.attempts == 0 and delivery.lost_tries < SUSPECT_LOST_TRIES


def _without(deliveries: Iterable[Delivery], done: Iterable[Delivery]) -> list[Delivery]:
    pks = {delivery.pk for delivery in done}
    return [delivery for delivery in deliveries if delivery.pk not in pks]


def _by_subscription(deliveries: Iterable[Delivery]) -> list[tuple[Subscription, list[Delivery]]]:
    of: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        of[delivery.subscription].append(delivery)
    known = [(registry.subscription(name), claimed) for name, claimed in of.items()]
    return [(subscription, claimed) for subscription, claimed in known if subscription is not None]


def _begin(delivery: Delivery, now: datetime) -> None:
    delivery.attempts += 1
    delivery.started_at = delivery.started_at or now


def _lease(delivery: Delivery, subscription: Subscription, now: datetime) -> None:
    _begin(delivery, now)
    delivery.status, delivery.lease_token = DeliveryStatus.RUNNING, new_id()
    delivery.due_at = now + lease_of(subscription)


def _react_to_many(subscription: Subscription, deliveries: Sequence[Delivery], now: datetime) -> list[Delivery]:
    """React to all at once; return the deliveries that are surely made. Inside, what raises had no effect at all."""
    if subscription.many is None or not deliveries:
        return []
    causes = {delivery.key: _cause(delivery.event) for delivery in deliveries}
    try:
        received = [_received(subscription, delivery, now) for delivery in deliveries]
        with caused_by_each(causes), time_limit(limit_of(subscription, subscription.retry)):
            if subscription.outside:
                done = set(subscription.many(received))
            else:
                with transaction.atomic():
                    done = set(subscription.many(received))
                    check_constraints()
    except Exception as error:  # noqa: BLE001 - each is made alone, where its failure is journalled
        logger.warning("batch_failed", subscription=subscription.name, error=message_of(error), size=len(deliveries))
        return []
    return [delivery for delivery in deliveries if delivery.event.id in done]


def _settle_done(done: Sequence[Delivery], now: datetime) -> None:
    for delivery in done:
        _note_done(delivery, now)
    update_all(done, _FIELDS)


def _settle_many(leased: Sequence[Delivery], done: Sequence[Delivery], now: datetime) -> list[Delivery]:
    """Write down what came of calls outside, of those whose lease still holds; return those that are done."""
    tokens = {delivery.pk: delivery.lease_token for delivery in leased}
    with transaction.atomic():
        held = {
            pk
            for pk, token in Delivery.objects.locked().filter(pk__in=tokens).values_list("pk", "lease_token")
            if token == tokens[pk]
        }
        settled = [delivery for delivery in done if delivery.pk in held]
        _settle_done(settled, now)
        again = [delivery for delivery in _without(leased, settled) if delivery.pk in held]
        for delivery in again:
            # The try alone is the one that counts.
            delivery.status, delivery.lease_token = DeliveryStatus.PENDING, None
            delivery.attempts -= 1
            delivery.due_at = now + resend_after(0)
        update_all(again, _FIELDS)
    return settled


def _one(pk: int, clock: Callable[[], datetime]) -> list[Delivery]:
    """Make one delivery if it is due and first in line; return it when it is done."""
    _count_lost_tries([pk], clock())
    with transaction.atomic():
        delivery = next(iter(_first_in_line([pk], clock())), None)
        subscription = None if delivery is None else registry.subscription(delivery.subscription)
        if delivery is None or subscription is None:
            return []
        started_at = clock()
        if not subscription.outside:
            _begin(delivery, started_at)
            error = _react(subscription, delivery, started_at)
            return [delivery] if _settle(delivery, subscription, error, started_at, clock()) else []
        _lease(delivery, subscription, started_at)
        delivery.save(update_fields=_FIELDS)
    error = _react(subscription, delivery, started_at)
    with transaction.atomic():
        held = Delivery.objects.locked().filter(pk=pk, lease_token=delivery.lease_token).exists()
        settled = held and _settle(delivery, subscription, error, started_at, clock())
    return [delivery] if settled else []


def _count_lost_tries(pks: Sequence[int], now: datetime) -> None:
    """Count tries that left no trace, in a commit of its own before the next: poison must not come round for ever.

    A delivery that merely stood in line was not tried, nor is one that a batch leaves alone.
    """
    if Delivery.objects.filter(pk__in=pks, resends__gt=0).exists():
        with transaction.atomic():
            lost = [
                delivery
                for delivery in _first_in_line(pks, now)
                if delivery.resends
                and (len(pks) == 1 or _fits_a_batch(delivery, registry.subscription(delivery.subscription)))
            ]
            for delivery in lost:
                delivery.lost_tries += 1
            update_all(lost, ("lost_tries",))


def _first_in_line(pks: Sequence[int], now: datetime) -> list[Delivery]:
    """Claim the deliveries nobody before them (same subscription, same key) is still waited for."""
    before = Delivery.objects.filter(
        subscription=OuterRef("subscription"), key=OuterRef("key"), event__lt=OuterRef("event")
    ).exclude(status__in=SETTLED_DELIVERIES)
    return list(
        Delivery.objects.claimed()
        .select_related("event")
        .filter(~Exists(before), ~Exists(_paused()), pk__in=pks, status__in=_OPEN)
        .exclude(status=DeliveryStatus.RUNNING, due_at__gt=now)
        .exclude(retry_at__gt=now)
    )


def _paused() -> QuerySet[Follower]:
    return Follower.objects.filter(name=OuterRef("subscription"), paused_at__isnull=False)


def is_busy(subscription: str, limit: int) -> bool:
    """Say whether so many deliveries of a subscription wait that it needs no more yet."""
    waiting = Delivery.objects.filter(subscription=subscription, status__in=_OPEN)
    return waiting.values_list("pk", flat=True)[:limit].count() == limit


def _cause(event: Event) -> Cause:
    return Cause(
        correlation_id=event.correlation_id,
        causation_id=event.id,
        traceparent=event.traceparent,
        low_priority=event.low_priority,
    )


def _received(subscription: Subscription, delivery: Delivery, now: datetime) -> Received[Any]:
    event = delivery.event
    return Received(
        event=subscription.events[event.type].read(event.data, version=event.version),
        event_id=event.id,
        stored=event,
        idempotency_key=f"{event.id}:{subscription.name}{f':{delivery.replays}' if delivery.replays else ''}",
        attempt=delivery.attempts,
        now=now,
    )


def _react(subscription: Subscription, delivery: Delivery, now: datetime) -> Exception | None:
    if delivery.lost_tries > MAX_LOST_TRIES:
        return WorkerLostError(delivery.lost_tries)
    try:
        received = _received(subscription, delivery, now)
        with caused_by(_cause(delivery.event)):
            limit = time_limit(limit_of(subscription, subscription.retry))
            if subscription.outside:
                with limit:
                    subscription.react(received)
            else:
                with transaction.atomic(), limit:
                    subscription.react(received)
                    check_constraints()
    except Exception as error:  # noqa: BLE001 - the engine isolates reactions
        return error
    return None


def _note_done(delivery: Delivery, now: datetime) -> None:
    delivery.resends, delivery.lost_tries, delivery.lease_token = 0, 0, None
    delivery.status, delivery.due_at, delivery.retry_at = DeliveryStatus.DONE, None, None
    delivery.finished_at, delivery.error = now, ""


def _settle(
    delivery: Delivery, subscription: Subscription, error: Exception | None, started_at: datetime, now: datetime
) -> bool:
    """Write down what came of a try; say whether the delivery is over."""
    if error is None:
        _note_done(delivery, now)
        delivery.save(update_fields=_FIELDS)
        return True
    delivery.resends, delivery.lease_token = 0, None
    lost, delivery.lost_tries = delivery.lost_tries, 0
    kind = kind_of(error, outside=subscription.outside)
    again = kind is not FailureKind.REJECTED and lost <= MAX_LOST_TRIES and subscription.retry.allows(delivery.attempts)
    asked_seconds = error.retry_after_seconds if isinstance(error, Retryable) else None
    pause: timedelta | None = (
        subscription.retry.pause(delivery.attempts, asked_seconds=asked_seconds) if again else None
    )
    delivery.due_at = delivery.retry_at = None if pause is None else now + pause
    delivery.status = DeliveryStatus.PENDING if again else DeliveryStatus.PARKED
    delivery.error = f"{type(error).__name__}: {message_of(error)}"
    if not again and subscription.on_give_up is not None:
        _follow_up(delivery, subscription, error, kind, now)
    delivery.save(update_fields=_FIELDS)
    failed_try(error, of=delivery, kind=kind, started_at=started_at, failed_at=now, retry_at=delivery.retry_at)
    return delivery.status == DeliveryStatus.FAILED


def _follow_up(
    delivery: Delivery, subscription: Subscription, error: Exception, kind: FailureKind, now: datetime
) -> None:
    """Have happen what follows from giving up, which ends the delivery; where this fails too, it is parked."""
    assert subscription.on_give_up is not None  # noqa: S101 - asked by the caller
    failure = Failure(step=subscription.name, kind=kind, error=type(error).__name__, message=message_of(error))
    try:
        with transaction.atomic(), caused_by(_cause(delivery.event)):
            subscription.on_give_up(_received(subscription, delivery, now), failure)
    except Exception as raised:  # as any other reaction's
        logger.exception("follow_up_failed", subscription=subscription.name, delivery=delivery.pk)
        delivery.error += f"; and then {type(raised).__name__}: {message_of(raised)}"
    else:
        delivery.status, delivery.finished_at = DeliveryStatus.FAILED, now


_FIELDS = (
    "status", "attempts", "lost_tries", "due_at", "retry_at", "resends", "lease_token", "error", "started_at", "finished_at",
)  # fmt: skip


def _next_in_line(finished: Sequence[Delivery]) -> list[Delivery]:
    """Return the deliveries that waited behind finished ones, first of each line."""
    if not finished:
        return []
    return first_of_lines({delivery.subscription for delivery in finished}, {delivery.key for delivery in finished})


def first_of_lines(subscriptions: Collection[str], keys: Collection[str]) -> list[Delivery]:
    """Return the deliveries that are next for these subscriptions and keys, one a line."""
    return list(
        Delivery.objects.filter(subscription__in=subscriptions, key__in=keys, status__in=_OPEN)
        .order_by("subscription", "key", "event")
        .distinct("subscription", "key")
    )


def send_again(parked: Sequence[Delivery], *, now: datetime) -> list[DeliveryWakeUp]:
    """Give parked deliveries all their tries again; return the messages to send.

    Transaction: requires the one that has locked them.
    """
    for delivery in parked:
        delivery.status, delivery.attempts, delivery.lost_tries, delivery.resends = DeliveryStatus.PENDING, 0, 0, 0
        delivery.due_at, delivery.retry_at = now + resend_after(0), None
    update_all(parked, ("status", "attempts", "lost_tries", "resends", "due_at", "retry_at"))
    return wake_ups_of(parked)


def skip_deliveries(parked: Sequence[Delivery], *, now: datetime) -> list[DeliveryWakeUp]:
    """Leave parked deliveries out; return the messages for those that stood in line behind them.

    Transaction: requires the one that has locked them.
    """
    for delivery in parked:
        delivery.status, delivery.finished_at = DeliveryStatus.SKIPPED, now
    update_all(parked, ("status", "finished_at"))
    return wake_ups_of(_next_in_line(parked))


def sweep_deliveries(*, now: datetime, limit: int) -> list[DeliveryWakeUp]:
    """Send again what is due, or was sent and never arrived.

    Transaction: opens one.
    """
    with transaction.atomic():
        due = list(
            Delivery.objects.filter(
                ~Exists(_paused()), status__in=_OPEN, due_at__lte=now, subscription__in=registry.subscription_names()
            )
            .order_by("due_at")
            .select_for_update(no_key=True, skip_locked=True, of=("self",))[:limit]
        )
        for delivery in due:
            delivery.resends = min(delivery.resends + 1, MAX_RESENDS)
            # A lease that ran out is void: whoever held it may no longer write what came of it.
            delivery.status, delivery.lease_token = DeliveryStatus.PENDING, None
            delivery.due_at = now + resend_after(delivery.resends)
        update_all(due, ("due_at", "resends", "status", "lease_token"))
    return wake_ups_of(due)
