"""Deliveries: an event owed to a subscription, in order per key, until it is done or parked."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from . import registry
from .attempts import check_constraints, failed_try, message_of
from .bulk import update_all
from .errors import Kind, Retryable, TransactionRefusedError, WorkerLostError, kind_of
from .events import Cause, caused_by
from .ids import new_id
from .limits import time_limit
from .models import Delivery
from .plans import MOST_LOST, MOST_RESENT, lease_of, limit_of, resend_after
from .subscriptions import Received, Subscription
from .transitions import SETTLED_DELIVERIES, DeliveryStatus

logger = structlog.get_logger(__name__)

_OPEN = (DeliveryStatus.PENDING, DeliveryStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class DeliveryWakeUp:
    """A message to send: these deliveries of one subscription may be due."""

    delivery_ids: tuple[int, ...]
    task: str
    queue: str


def wake_ups_for(deliveries: Iterable[Delivery]) -> list[DeliveryWakeUp]:
    """Return the messages that carry `deliveries`, in their order; those of unknown subscriptions wait."""
    ids: dict[str, list[int]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.status != DeliveryStatus.PARKED:
            ids[delivery.subscription].append(delivery.pk)
    messages = []
    for name, owed in ids.items():
        subscription = registry.subscription(name)
        if subscription is None:
            logger.warning("unknown_subscription", subscription=name, deliveries=len(owed))
            continue
        size = settings.SAGAS_BATCH_SIZE
        messages += [
            DeliveryWakeUp(
                delivery_ids=tuple(owed[begin : begin + size]), task=subscription.task, queue=subscription.queue
            )
            for begin in range(0, len(owed), size)
        ]
    return messages


def deliver(*, delivery_ids: Sequence[int], clock: Callable[[], datetime]) -> list[DeliveryWakeUp]:
    """Make what is due of these deliveries; return the messages for those that stood in line behind them.

    Transaction: refuses one; opens its own.
    Idempotent: by delivery; an outside reaction may run again after a crash and is idempotent by its own key.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("deliveries commit their own transactions")
    finished = [delivery for pk in delivery_ids if (delivery := _deliver(pk, clock)) is not None]
    return wake_ups_for(_next_in_line(finished))


def _deliver(pk: int, clock: Callable[[], datetime]) -> Delivery | None:
    """Make one delivery if it is due and first in line; return it when it is done."""
    _count_lost_try(pk, clock())
    with transaction.atomic():
        delivery = _first_in_line(pk, clock())
        subscription = None if delivery is None else registry.subscription(delivery.subscription)
        if delivery is None or subscription is None:
            return None
        started_at = clock()
        delivery.attempts += 1
        delivery.started_at = delivery.started_at or started_at
        if not subscription.outside:
            error = _react(subscription, delivery, started_at)
            _settle(delivery, subscription, error, started_at, clock())
            return delivery if error is None else None
        delivery.status, delivery.lease_token = DeliveryStatus.RUNNING, new_id()
        delivery.due_at = started_at + lease_of(subscription)
        delivery.save(update_fields=_FIELDS)
    error = _react(subscription, delivery, started_at)
    with transaction.atomic():
        held = Delivery.objects.select_for_update(no_key=True).filter(pk=pk, lease_token=delivery.lease_token).exists()
        if held:
            _settle(delivery, subscription, error, started_at, clock())
    return delivery if held and error is None else None


def _count_lost_try(pk: int, now: datetime) -> None:
    """Count a try that left no trace, in a commit of its own before the next: poison must not come round for ever.

    A delivery that merely stood in line was not tried.
    """
    if Delivery.objects.filter(pk=pk, resent__gt=0).exists():
        with transaction.atomic():
            delivery = _first_in_line(pk, now)
            if delivery is not None:
                delivery.lost += 1
                delivery.save(update_fields=["lost"])


def _first_in_line(pk: int, now: datetime) -> Delivery | None:
    """Claim a delivery nobody before it (same subscription, same key) is still waiting for."""
    before = Delivery.objects.filter(
        subscription=OuterRef("subscription"), key=OuterRef("key"), event__lt=OuterRef("event")
    ).exclude(status__in=SETTLED_DELIVERIES)
    return (
        Delivery.objects.claimed()
        .select_related("event")
        .filter(~Exists(before), pk=pk, status__in=_OPEN)
        .exclude(status=DeliveryStatus.RUNNING, due_at__gt=now)
        .exclude(retry_at__gt=now)
        .first()
    )


def _react(subscription: Subscription, delivery: Delivery, now: datetime) -> Exception | None:
    event = delivery.event
    cause = Cause(correlation_id=event.correlation_id, causation_id=event.id, traceparent=event.traceparent)
    if delivery.lost > MOST_LOST:
        return WorkerLostError(delivery.lost)
    try:
        received: Received[Any] = Received(
            event=subscription.event.read(event.data),
            event_id=event.id,
            idempotency_key=f"{event.id}:{subscription.name}",
            attempt=delivery.attempts,
            now=now,
        )
        with caused_by(cause):
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


def _settle(
    delivery: Delivery, subscription: Subscription, error: Exception | None, started_at: datetime, now: datetime
) -> None:
    delivery.resent, delivery.lease_token = 0, None
    lost, delivery.lost = delivery.lost, 0
    if error is None:
        delivery.status, delivery.due_at, delivery.retry_at = DeliveryStatus.DONE, None, None
        delivery.finished_at, delivery.error = now, ""
        delivery.save(update_fields=_FIELDS)
        return
    kind = kind_of(error, outside=subscription.outside)
    again = kind is not Kind.REJECTED and lost <= MOST_LOST and subscription.retry.allows(delivery.attempts)
    asked_seconds = error.retry_after_seconds if isinstance(error, Retryable) else None
    pause: timedelta | None = (
        subscription.retry.pause(delivery.attempts, asked_seconds=asked_seconds) if again else None
    )
    delivery.due_at = delivery.retry_at = None if pause is None else now + pause
    delivery.status = DeliveryStatus.PENDING if again else DeliveryStatus.PARKED
    delivery.error = f"{type(error).__name__}: {message_of(error)}"
    delivery.save(update_fields=_FIELDS)
    failed_try(error, of=delivery, kind=kind, started_at=started_at, failed_at=now, retry_at=delivery.retry_at)


_FIELDS = (
    "status", "attempts", "lost", "due_at", "retry_at", "resent", "lease_token", "error", "started_at", "finished_at",
)  # fmt: skip


def _next_in_line(finished: Sequence[Delivery]) -> list[Delivery]:
    """Return the deliveries that waited behind finished ones, first of each line."""
    following = []
    for delivery in finished:
        waiting = (
            Delivery.objects.filter(
                subscription=delivery.subscription, key=delivery.key, event__gt=delivery.event_id, status__in=_OPEN
            )
            .order_by("event")
            .first()
        )
        if waiting is not None:
            following.append(waiting)
    return following


def send_again(parked: Sequence[Delivery], *, now: datetime) -> list[DeliveryWakeUp]:
    """Give parked deliveries all their tries again; return the messages to send.

    Transaction: requires the one that has locked them.
    """
    for delivery in parked:
        delivery.status, delivery.attempts, delivery.lost, delivery.resent = DeliveryStatus.PENDING, 0, 0, 0
        delivery.due_at, delivery.retry_at = now + resend_after(0), None
    update_all(parked, ("status", "attempts", "lost", "resent", "due_at", "retry_at"))
    return wake_ups_for(parked)


def skip_deliveries(parked: Sequence[Delivery], *, now: datetime) -> list[DeliveryWakeUp]:
    """Leave parked deliveries out; return the messages for those that stood in line behind them.

    Transaction: requires the one that has locked them.
    """
    for delivery in parked:
        delivery.status, delivery.finished_at = DeliveryStatus.SKIPPED, now
    update_all(parked, ("status", "finished_at"))
    return wake_ups_for(_next_in_line(parked))


def sweep_deliveries(*, now: datetime, limit: int) -> list[DeliveryWakeUp]:
    """Send again what is due, or was sent and never arrived.

    Transaction: opens one.
    """
    with transaction.atomic():
        due = list(
            Delivery.objects.filter(status__in=_OPEN, due_at__lte=now, subscription__in=registry.subscription_names())
            .order_by("due_at")
            .select_for_update(no_key=True, skip_locked=True)[:limit]
        )
        for delivery in due:
            delivery.resent = min(delivery.resent + 1, MOST_RESENT)
            # A lease that ran out is void: whoever held it may no longer write what came of it.
            delivery.status, delivery.lease_token = DeliveryStatus.PENDING, None
            delivery.due_at = now + resend_after(delivery.resent)
        update_all(due, ("due_at", "resent", "status", "lease_token"))
    return wake_ups_for(due)
