"""Queries of messages."""

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

from django.db.models import QuerySet

from .models import Notification


def notifications(order_id: UUID) -> QuerySet[Notification]:
    return Notification.objects.filter(order_id=order_id).order_by("queued_at")


def of_orders(order_ids: Collection[UUID]) -> dict[UUID, list[Notification]]:
    """Return the messages about these orders, without their texts; one statement."""
    found: dict[UUID, list[Notification]] = defaultdict(list)
    for notification in Notification.objects.filter(order_id__in=order_ids).defer("context").order_by("queued_at"):
        found[notification.order_id].append(notification)
    return dict(found)
