"""The wiring diagram: event type → reactions. Contexts publish; who reacts to what stands here and nowhere else."""

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings

from notifications import services as notifications
from notifications.events import NotificationQueued
from sagas.subscriptions import Received, Subscription, starts

from .processes import fulfil_order_by_events as by_events
from .processes.fulfil_order import fulfil_order


def send_notification(received: Received[NotificationQueued]) -> None:
    notifications.send(notification_id=received.event.notification_id, now=received.now)


def send_notifications(received: Sequence[Received[NotificationQueued]]) -> set[UUID]:
    sent = notifications.send_many([each.event.notification_id for each in received], now=received[0].now)
    return {each.event_id for each in received if each.event.notification_id in sent}


#: Who begins an order, by the first of `SHOP_COORDINATION`; both have the same place in the log.
_BEGINS = {"saga": starts(fulfil_order), "choreography": by_events.BEGINS}
#: Who goes on with it. The saga's runs know by themselves.
_GOES_ON = {"saga": (), "choreography": by_events.GOES_ON}


def wiring(*coordination: str) -> tuple[Subscription, ...]:
    """Return what reacts to what: the first way begins new orders, the others finish what they began."""
    return (_BEGINS[coordination[0]], *(one for way in coordination for one in _GOES_ON[way]), *_ALWAYS)


_ALWAYS = (
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

#: Runs of these go on even where nothing starts new ones.
SAGAS = (fulfil_order,)
WIRING = wiring(*settings.SHOP_COORDINATION)
#: Switched off, and yet what it reads is a contract.
DORMANT = wiring("choreography")
