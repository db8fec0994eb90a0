"""Messages, queued by the service."""

from uuid import uuid4

from django.utils import timezone
from factory.base import Factory
from factory.declarations import LazyFunction

from notifications import services as notifications
from notifications.events import NotificationKind
from notifications.models import Notification


class QueuedNotificationFactory(Factory[Notification]):
    """A message that is to be sent."""

    class Meta:
        model = notifications.queue

    order_id = LazyFunction(uuid4)
    kind = NotificationKind.ORDER_CONFIRMED
    recipient = "ada@example.com"
    context = LazyFunction(
        lambda: {
            "number": "S1",
            "name": "Ada",
            "total": "£20.00",
            "lines": [{"quantity": 2, "name": "Mug", "total": "£20.00"}],
        }
    )
    now = LazyFunction(timezone.now)
