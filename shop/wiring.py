"""The wiring diagram: event type → reactions. Contexts publish; who reacts to what stands here and nowhere else."""

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
        # A mail server that is slow leaves two of the four hands of `make run` to the orders.
        at_once=2,
    ),
    # what the environment says →
    *configured(),
)


def wiring(*coordination: str) -> tuple[Subscription, ...]:
    """Return which reaction follows which event: the first way begins new orders, the others finish what they began."""
    # Both ways begin with the same name, so with the same position in the log.
    begins = {"saga": starts(fulfil_order), "choreography": fulfil_order_by_events.begins}[coordination[0]]
    reactions = fulfil_order_by_events.reactions if "choreography" in coordination else ()
    return (begins, *reactions, *_ALWAYS)


#: Runs of these go on even where nothing starts new ones.
SAGAS = (fulfil_order,)
WIRING = wiring(*settings.SHOP_COORDINATION)
#: Switched off; the events that it reads are contracts all the same.
DORMANT = wiring("choreography")
#: What follows the log to answer questions.
READ_MODELS = (sales, order_list, feed)
#: All reactions an order has by choreography: it has a process while one of them has something to do.
CHOREOGRAPHY = fulfil_order_by_events.names
