"""Which deliveries are ready, open, or at the head of a line."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from ..core.statuses import LIVE_DELIVERIES, SETTLED_DELIVERIES, DeliveryStatus
from ..models import Delivery, Follower


def ready(deliveries: QuerySet[Delivery], now: datetime) -> QuerySet[Delivery]:
    """Return the deliveries that are due and whose earlier deliveries (same subscription and key) are all settled."""
    # Not by EXISTS: after a burst the planner would join each delivery with all others of the subscription.
    line = Delivery.objects.filter(subscription=OuterRef("subscription"), key=OuterRef("key"))
    head = line.exclude(status__in=SETTLED_DELIVERIES).order_by("event").values("pk")[:1]
    return (
        deliveries.filter(~Exists(paused()), pk=Subquery(head), status__in=LIVE_DELIVERIES)
        .exclude(status=DeliveryStatus.RUNNING, due_at__gt=now)
        .exclude(retry_at__gt=now)
    )


def paused() -> QuerySet[Follower]:
    return Follower.objects.filter(name=OuterRef("subscription"), paused_at__isnull=False)


def heads_of(subscriptions: Collection[str], keys: Collection[str]) -> list[Delivery]:
    """Return the first open delivery of each of these subscriptions and keys."""
    return list(
        Delivery.objects.filter(subscription__in=subscriptions, key__in=keys, status__in=LIVE_DELIVERIES)
        .order_by("subscription", "key", "event")
        .distinct("subscription", "key")
    )


def is_busy(subscription: str, limit: int) -> bool:
    """Say whether a subscription has its maximum of open deliveries."""
    waiting = Delivery.objects.filter(subscription=subscription, status__in=LIVE_DELIVERIES)
    return waiting.values_list("pk", flat=True)[:limit].count() == limit
