"""Deciding to tell people something, and telling them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from sagas.db.rows import insert_all
from sagas.log import outbox

from .channel import Channel
from .channels.email import EmailChannel
from .events import NotificationKind, NotificationQueued, NotificationSent
from .models import Notification

_CHANNELS: dict[str, Channel] = {Notification.Channel.EMAIL: EmailChannel()}


def queue(
    *, order_id: UUID, kind: NotificationKind, recipient: str, context: Mapping[str, Any], now: datetime
) -> Notification:
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


@dataclass(frozen=True, kw_only=True)
class Message:
    """What `queue` is asked for: tell this person of that, with these values for the templates."""

    order_id: UUID
    kind: NotificationKind
    recipient: str
    context: Mapping[str, Any]


def queue_many(messages: Sequence[Message], *, now: datetime) -> dict[UUID, Notification]:
    """Decide that people are told something; return what is new, by order.

    Transaction: opens one.
    Idempotent: by order + kind + channel; what was decided before is left out.
    """
    with transaction.atomic():
        stored = set(
            Notification.objects.filter(order_id__in=[message.order_id for message in messages]).values_list(
                "order_id", "kind"
            )
        )
        notifications = {
            message.order_id: Notification(
                order_id=message.order_id,
                kind=message.kind,
                recipient=message.recipient,
                context=dict(message.context),
                queued_at=now,
            )
            for message in messages
            if (message.order_id, message.kind) not in stored
        }
        insert_all(list(notifications.values()))
        outbox.emit(*(_event(NotificationQueued, row) for row in notifications.values()), now=now)
    return notifications


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
    notification.status, notification.sent_at = Notification.Status.SENT, notification.sent_at or now
    return notification


def send_many(notification_ids: Sequence[UUID], *, now: datetime) -> set[UUID]:
    """Send queued messages over one connection a channel; return the ids of those that left or had left before.

    What is missing there did not leave, or there was no time for it.

    Transaction: opens one, after the messages left.
    Idempotent: by `notification_id`; a crash between sending and noting it sends the same message ids twice.
    """
    queued = []
    sent = set()
    for notification in Notification.objects.filter(id__in=notification_ids):
        if notification.status == Notification.Status.SENT:
            sent.add(notification.id)
        else:
            queued.append(notification)
    left = [
        notification
        for name, channel in _CHANNELS.items()
        for notification in channel.send_many([row for row in queued if row.channel == name])
    ]
    with transaction.atomic():
        noted = {
            row.id
            for row in Notification.objects.filter(id__in=[row.id for row in left], status=Notification.Status.QUEUED)
            .order_by("id")
            .select_for_update()
        }
        Notification.objects.filter(id__in=noted).update(status=Notification.Status.SENT, sent_at=now)
        outbox.emit(*(_event(NotificationSent, row) for row in left if row.id in noted), now=now)
    return sent | {row.id for row in left}


def _event(
    kind: type[NotificationQueued] | type[NotificationSent], notification: Notification
) -> NotificationQueued | NotificationSent:
    return kind(
        notification_id=notification.id,
        order_id=notification.order_id,
        kind=notification.kind,
        channel=notification.channel,
    )
