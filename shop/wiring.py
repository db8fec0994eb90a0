"""The wiring diagram: event type → reactions. Contexts publish; who reacts to what stands here and nowhere else."""

from notifications import services as notifications
from notifications.events import NotificationQueued
from sagas.subscriptions import Received, Subscription, starts

from .processes.fulfil_order import fulfil_order


def send_notification(received: Received[NotificationQueued]) -> None:
    notifications.send(notification_id=received.event.notification_id, now=received.now)


WIRING = (
    # orders.order_placed →
    starts(fulfil_order),
    # notifications.notification_queued →
    Subscription(
        "send-notification",
        event=NotificationQueued,
        queue="notifications",
        react=send_notification,
        outside=True,
    ),
)
