"""Messages to people."""

from uuid import uuid4

from factory.base import Factory
from factory.declarations import LazyFunction

from notifications import services as notifications
from notifications.events import NotificationKind


class MessageFactory(Factory[notifications.Message]):
    """What `notifications.queue` is asked for."""

    class Meta:
        model = notifications.Message

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
