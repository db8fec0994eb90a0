"""The wiring: event type → reactions. Contexts publish; all reactions are listed here and nowhere else."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from django.conf import settings

from notifications import services as notifications
from notifications.events import NotificationQueued
from sagas.core.subscription import ReactionToMany, Received, Subscription, starts

from .outward import receivers, streams, webhooks
from .outward.receivers import Receiver, Stream, Webhook
from .processes.fulfil_order import fulfil_order
from .processes.fulfil_order_by_events import fulfil_order_by_events
from .readmodels.feed import feed
from .readmodels.order_list import order_list
from .readmodels.sales import sales


def send_notifications(received: Sequence[Received[NotificationQueued]]) -> dict[UUID, object]:
    sent = notifications.send_many([each.event.notification_id for each in received], now=received[0].now)
    return {each.event_id: sent[each.event.notification_id] for each in received if each.event.notification_id in sent}


def to_webhook(webhook: Webhook) -> Subscription:
    return _outward("webhook", webhook, webhooks.poster(webhook))


def to_stream(stream: Stream) -> Subscription:
    return _outward("stream", stream, streams.adder(stream))


def _outward(kind: str, receiver: Receiver, react_many: ReactionToMany) -> Subscription:
    return Subscription(
        f"{kind}-{receiver.name}",
        event=receivers.events_for(f"{kind.upper()}S", receiver),
        queue="outward",
        outside=True,
        retry=receivers.RETRY,
        lease=receivers.LEASE,
        max_open_deliveries=receivers.MAX_OPEN_DELIVERIES,
        at_once=receivers.AT_ONCE,
        start_at=receiver.start_at,
        configured=True,
        react_many=react_many,
    )


def configured() -> Iterator[Subscription]:
    yield from map(to_webhook, settings.WEBHOOKS)
    yield from map(to_stream, settings.STREAMS)


_ALWAYS = (
    # notifications.notification_queued →
    Subscription(
        "send-notification",
        event=NotificationQueued,
        queue="notifications",
        react_many=send_notifications,
        outside=True,
        # A slow mail server leaves one of the four worker processes of `make run` to the orders.
        at_once=3,
    ),
    # receivers of the environment →
    *configured(),
)


def wiring(*coordination: str) -> tuple[Subscription, ...]:
    """Return the reactions to events: the first way starts new orders, the others finish the orders they started."""
    # Both ways start with a reaction of the same name, so at the same position in the log.
    begins = {"saga": starts(fulfil_order), "choreography": fulfil_order_by_events.begins}[coordination[0]]
    reactions = fulfil_order_by_events.reactions if "choreography" in coordination else ()
    return (begins, *reactions, *_ALWAYS)


#: Sagas whose open runs continue even if no subscription starts new ones.
SAGAS = (fulfil_order,)
WIRING = wiring(*settings.SHOP_COORDINATION)
#: Switched off; the events that they read are contracts too.
DORMANT = wiring("choreography")
#: The read models.
READ_MODELS = (sales, order_list, feed)
#: All reactions of a choreographed order: it has a process while one of them is still to come.
CHOREOGRAPHY = fulfil_order_by_events.names
