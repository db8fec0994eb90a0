"""Questions about what people were told."""

from uuid import UUID

from django.db.models import QuerySet

from .models import Notification


def notifications(order_id: UUID) -> QuerySet[Notification]:
    return Notification.objects.filter(order_id=order_id).order_by("queued_at")
