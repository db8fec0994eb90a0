"""Deliveries: an event owed to a subscription, made in order per key until it is done or parked."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from ..core import registry
from ..core.cause import caused_by
from ..core.saga import Failure
from ..core.statuses import SETTLED_DELIVERIES, DeliveryStatus
from ..db.rows import update_all
from ..db.storable import message_of
from ..models import Delivery, Follower
from .claim import Verdict
from .delivery_claim import DeliveryClaim
from .limits import note_resend, resend_after
from .tries import Work, take
from .wake_ups import DeliveryWakeUp, delivery_wake_ups_of

logger = structlog.get_logger(__name__)

_OPEN = (DeliveryStatus.PENDING, DeliveryStatus.RUNNING)


def deliver(*, delivery_ids: Sequence[int], clock: Callable[[], datetime]) -> list[DeliveryWakeUp]:
    """Make what is due of these deliveries; return the messages for those that stand next in line behind them.

    Of a batch, those without an outcome are among the messages, one each.

    Transaction: refuses one; opens its own.
    Idempotent: by delivery; an outside reaction may run again after a crash and is idempotent by its own key.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    taken = take(_DeliveryWork(delivery_ids=delivery_ids), clock)
    left = [claim.delivery for claim in taken.left]
    over = [claim.delivery for claim in (*taken.done, *taken.failed) if claim.delivery.status in SETTLED_DELIVERIES]
    return [*delivery_wake_ups_of(left, single=True), *delivery_wake_ups_of(_next_in_line(over))]


@dataclass(frozen=True, kw_only=True)
class _DeliveryWork(Work[DeliveryClaim]):
    delivery_ids: Sequence[int]

    @property
    def is_batch(self) -> bool:
        return len(self.delivery_ids) > 1

    def claim(self, now: datetime) -> list[DeliveryClaim]:
        """Lock the deliveries whose earlier deliveries (same subscription and key) are all settled."""
        before = Delivery.objects.filter(
            subscription=OuterRef("subscription"), key=OuterRef("key"), event__lt=OuterRef("event")
        ).exclude(status__in=SETTLED_DELIVERIES)
        heads = (
            Delivery.objects.claimed()
            .select_related("event")
            .filter(~Exists(before), ~Exists(_paused()), pk__in=self.delivery_ids, status__in=_OPEN)
            .exclude(status=DeliveryStatus.RUNNING, due_at__gt=now)
            .exclude(retry_at__gt=now)
        )
        known = [(registry.subscription(delivery.subscription), delivery) for delivery in heads]
        return [DeliveryClaim(work=work, delivery=delivery) for work, delivery in known if work is not None]

    def count_lost(self, claims: Sequence[DeliveryClaim]) -> None:
        Delivery.objects.filter(pk__in=[claim.row.pk for claim in claims]).update(lost_tries=F("lost_tries") + 1)

    def save_leases(self, claims: Sequence[DeliveryClaim]) -> None:
        self.save(claims)

    def held(self, claims: Sequence[DeliveryClaim]) -> list[DeliveryClaim]:
        rows = Delivery.objects.locked().filter(pk__in=[claim.row.pk for claim in claims])
        tokens = dict(rows.values_list("pk", "lease_token"))
        return [claim for claim in claims if tokens.get(claim.row.pk) == claim.row.lease_token]

    def save(self, claims: Sequence[DeliveryClaim]) -> None:
        update_all([claim.row for claim in claims], _FIELDS)

    def give_up(self, claim: DeliveryClaim, error: Exception, verdict: Verdict, now: datetime) -> None:
        """Run the subscription's `on_give_up` and close the delivery as failed; if that raises, leave it parked."""
        if claim.work.on_give_up is None:
            return
        failure = Failure(
            step=claim.work.name, kind=verdict.kind, error=type(error).__name__, message=message_of(error)
        )
        try:
            with transaction.atomic(), caused_by(claim.cause):
                claim.work.on_give_up(claim.call(now), failure)
        except Exception as raised:  # as any other reaction's
            logger.exception("on_give_up_failed", subscription=claim.work.name, delivery=claim.row.pk)
            claim.row.error += f"; and then {type(raised).__name__}: {message_of(raised)}"
        else:
            claim.row.status, claim.row.finished_at = DeliveryStatus.FAILED, now


_FIELDS = (
    "status", "attempts", "lost_tries", "due_at", "retry_at", "resends", "lease_token", "error", "started_at",
    "finished_at",
)  # fmt: skip


def _paused() -> QuerySet[Follower]:
    return Follower.objects.filter(name=OuterRef("subscription"), paused_at__isnull=False)


def is_busy(subscription: str, limit: int) -> bool:
    """Say whether so many deliveries of a subscription are open that it needs no more yet."""
    waiting = Delivery.objects.filter(subscription=subscription, status__in=_OPEN)
    return waiting.values_list("pk", flat=True)[:limit].count() == limit


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
    return delivery_wake_ups_of(parked)


def skip_deliveries(parked: Sequence[Delivery], *, now: datetime) -> list[DeliveryWakeUp]:
    """Leave parked deliveries out; return the messages for those that stood in line behind them.

    Transaction: requires the one that has locked them.
    """
    for delivery in parked:
        delivery.status, delivery.finished_at = DeliveryStatus.SKIPPED, now
    update_all(parked, ("status", "finished_at"))
    return delivery_wake_ups_of(_next_in_line(parked))


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
            note_resend(delivery, now)
            # A lease that ran out is void: its worker may no longer write what came of the call.
            delivery.status, delivery.lease_token = DeliveryStatus.PENDING, None
        update_all(due, ("due_at", "resends", "status", "lease_token"))
    return delivery_wake_ups_of(due)
