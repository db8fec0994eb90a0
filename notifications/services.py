"""Deciding to tell people something, and telling them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from sagas import outbox

from .channel import Channel
from .channels.email import EmailChannel
from .events import Kind, NotificationQueued, NotificationSent
from .models import Notification

_CHANNELS: dict[str, Channel] = {Notification.Channel.EMAIL: EmailChannel()}


def queue(*, order_id: UUID, kind: Kind, recipient: str, context: Mapping[str, Any], now: datetime) -> Notification:
    """Decide that a person is told something; a reaction to `NotificationQueued` sends it.

    Transaction: opens one.
    Idempotent: by `order_id` + `kind` + channel.

    Args:
        context: JSON values the templates are filled with.
    """
    with transaction.atomic():
        notification, new = Notification.objects.get_or_create(
            order_id=order_id,
            kind=kind,
            channel=Notification.Channel.EMAIL,
            defaults={"recipient": recipient, "context": dict(context), "queued_at": now},
        )
        if new:
            outbox.emit(_event(NotificationQueued, notification), now=now)
    return notification


def send(*, notification_id: UUID, now: datetime) -> Notification:
    """Send a queued message.

    Transaction: opens its own, after the message left.
    Idempotent: by `notification_id`; a crash between sending and noting it sends the same message id twice.

    Raises:
        ChannelDown: Retryable; it did not leave.
    """
    notification = Notification.objects.get(id=notification_id)
    if notification.status == Notification.Status.SENT:
        return notification
    _CHANNELS[notification.channel].send(notification)
    with transaction.atomic():
        noted = Notification.objects.filter(id=notification_id, status=Notification.Status.QUEUED).update(
            status=Notification.Status.SENT, sent_at=now
        )
        if noted:
            outbox.emit(_event(NotificationSent, notification), now=now)
    notification.refresh_from_db()
    return notification


def _event(
    kind: type[NotificationQueued] | type[NotificationSent], notification: Notification
) -> NotificationQueued | NotificationSent:
    return kind(
        notification_id=notification.id,
        order_id=notification.order_id,
        kind=notification.kind,
        channel=notification.channel,
    )
