"""Services of messages: queue and send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from sagas.db.rows import insert_missing
from sagas.log import outbox

from .channels import CHANNELS
from .events import NotificationKind, NotificationQueued, NotificationSent
from .models import Notification


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to a person: `context` has the JSON values for the templates."""

    order_id: UUID
    kind: NotificationKind
    recipient: str
    context: Mapping[str, Any]


def queue(message: Message, *, now: datetime) -> Notification:
    """As `queue_many`, for one message."""
    return queue_many([message], now=now)[message.order_id]


def queue_many(messages: Sequence[Message], *, now: datetime) -> dict[UUID, Notification]:
    """Queue messages, one for each order; return the notifications, by order.

    A reaction to `NotificationQueued` sends them.

    Transaction: opens one.
    Idempotent: by order + kind + channel; a repeat returns the stored notification.
    """
    rows = {
        message.order_id: Notification(
            order_id=message.order_id,
            kind=message.kind,
            recipient=message.recipient,
            context=dict(message.context),
            queued_at=now,
        )
        for message in messages
    }
    with transaction.atomic():
        new = insert_missing(list(rows.values()), unique=["order_id", "kind", "channel"])
        outbox.emit(*(_event(NotificationQueued, row) for row in rows.values() if row.pk in new), now=now)
        if len(new) < len(rows):
            for row in Notification.objects.filter(order_id__in=rows, channel=Notification.Channel.EMAIL):
                if row.kind == rows[row.order_id].kind:
                    rows[row.order_id] = row
    return rows


def send_many(notification_ids: Sequence[UUID], *, now: datetime) -> dict[UUID, Notification | Exception]:
    """Send queued messages. Return the notification, or the exception, by id.

    A message without an outcome was not tried: there was no time for it.

    Transaction: opens one, after the messages left.
    Idempotent: by `notification_id`; a crash between sending and writing the outcome sends the same message ids twice.
    """
    outcomes: dict[UUID, Notification | Exception] = {}
    queued = []
    for notification in Notification.objects.filter(id__in=notification_ids):
        if notification.status == Notification.Status.SENT:
            outcomes[notification.id] = notification
        else:
            queued.append(notification)
    failed: dict[UUID, Exception | None] = {}
    for name, channel in CHANNELS.items():
        failed |= channel.send([row for row in queued if row.channel == name])
    left = [row for row in queued if row.id in failed and failed[row.id] is None]
    with transaction.atomic():
        noted = {
            row.id
            for row in Notification.objects.filter(id__in=[row.id for row in left], status=Notification.Status.QUEUED)
            .order_by("id")
            .select_for_update()
        }
        Notification.objects.filter(id__in=noted).update(status=Notification.Status.SENT, sent_at=now)
        outbox.emit(*(_event(NotificationSent, row) for row in left if row.id in noted), now=now)
    for row in left:
        row.status, row.sent_at = Notification.Status.SENT, now
        outcomes[row.id] = row
    return outcomes | {pk: error for pk, error in failed.items() if error is not None}


def _event(
    kind: type[NotificationQueued] | type[NotificationSent], notification: Notification
) -> NotificationQueued | NotificationSent:
    return kind(
        notification_id=notification.id,
        order_id=notification.order_id,
        kind=notification.kind,
        channel=notification.channel,
    )
