"""The wiring diagram: event type → reactions. Contexts publish; who reacts to what stands here and nowhere else."""

from collections.abc import Sequence
from uuid import UUID

from notifications import services as notifications
from notifications.events import NotificationQueued
from sagas.subscriptions import Received, Subscription, starts

from .processes.fulfil_order import fulfil_order


def send_notification(received: Received[NotificationQueued]) -> None:
    notifications.send(notification_id=received.event.notification_id, now=received.now)


def send_notifications(received: Sequence[Received[NotificationQueued]]) -> set[UUID]:
    sent = notifications.send_many([each.event.notification_id for each in received], now=received[0].now)
    return {each.event_id for each in received if each.event.notification_id in sent}


WIRING = (
    # orders.order_placed →
    starts(fulfil_order),
    # notifications.notification_queued →
    Subscription(
        "send-notification",
        event=NotificationQueued,
        queue="notifications",
        react=send_notification,
        many=send_notifications,
        outside=True,
    ),
)
