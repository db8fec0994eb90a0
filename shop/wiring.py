"""The wiring diagram: event type → reactions. Contexts publish; who reacts to what stands here and nowhere else."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings

from inventory.events import ShipmentBooked, ShipmentRefused, StockRefused, StockReleased, StockReserved
from notifications import services as notifications
from notifications.events import NotificationQueued
from orders.events import OrderConfirmed, OrderPlaced, OrderRejected
from payments.events import CreditHeld, PaymentCaptured, PaymentFailed, PaymentReleased
from sagas.core.subscription import Received, Subscription, starts

from .outward import receivers, streams, webhooks
from .outward.receivers import Receiver, Stream, Webhook
from .processes.fulfil_order import fulfil_order
from .processes.fulfil_order_by_events import (
    capture,
    confirm,
    does,
    give_up_payment,
    hold,
    notify,
    parcel,
    reason_told,
    refuse_shipment,
    refuse_stock,
    reject,
    releases_payment,
    reserve,
    ship,
    tell,
    undoes,
)
from .readmodels.feed import feed
from .readmodels.order_list import order_list
from .readmodels.sales import sales


def send_notification(received: Received[NotificationQueued]) -> None:
    notifications.send(notification_id=received.event.notification_id, now=received.now)


def send_notifications(received: Sequence[Received[NotificationQueued]]) -> set[UUID]:
    sent = notifications.send_many([each.event.notification_id for each in received], now=received[0].now)
    return {each.event_id for each in received if each.event.notification_id in sent}


def to_webhook(webhook: Webhook) -> Subscription:
    return _outward("webhook", webhook, react=webhooks.poster(webhook), many=webhooks.posters(webhook))


def to_stream(stream: Stream) -> Subscription:
    return _outward("stream", stream, react=streams.adder(stream), many=streams.adders(stream))


def _outward(kind: str, receiver: Receiver, **how: Any) -> Subscription:
    return Subscription(
        f"{kind}-{receiver.name}",
        event=receivers.events_for(f"{kind.upper()}S", receiver),
        queue="outward",
        outside=True,
        retry=receivers.RETRY,
        lease=receivers.LEASE,
        max_open_deliveries=receivers.MAX_OPEN_DELIVERIES,
        start_at=receiver.start_at,
        configured=True,
        **how,
    )


def configured() -> Iterator[Subscription]:
    yield from map(to_webhook, settings.WEBHOOKS)
    yield from map(to_stream, settings.STREAMS)


#: Who begins an order, by the first of `SHOP_COORDINATION`; both have the same place in the log.
_BEGINS = {
    # orders.order_placed →
    "saga": starts(fulfil_order),
    "choreography": does(reserve, on=OrderPlaced, name=f"start-{fulfil_order.name}", on_give_up=refuse_stock),
}
#: Who goes on with it.
_GOES_ON: dict[str, tuple[Subscription, ...]] = {
    "saga": (),  # the runs know by themselves
    "choreography": (
        # inventory.stock_reserved →
        does(hold, on=StockReserved, on_give_up=give_up_payment),
        does(capture, on=StockReserved, on_give_up=give_up_payment),
        # payments.payment_captured, payments.credit_held →
        does(ship, on=(PaymentCaptured, CreditHeld), on_give_up=refuse_shipment),
        # inventory.shipment_booked →
        does(confirm, on=ShipmentBooked),
        # orders.order_confirmed →
        does(notify, on=OrderConfirmed, results=parcel),
        # And back: payments.payment_failed, inventory.shipment_refused →
        releases_payment(on=(PaymentFailed, ShipmentRefused)),
        # payments.payment_released →
        undoes(reserve, on=PaymentReleased),
        # inventory.stock_released, inventory.stock_refused →
        does(reject, on=(StockRefused, StockReleased), why=reason_told),
        # orders.order_rejected →
        does(tell, on=OrderRejected, why=reason_told),
    ),
}

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
    # what the environment says →
    *configured(),
)


def wiring(*coordination: str) -> tuple[Subscription, ...]:
    """Return what reacts to what: the first way begins new orders, the others finish what they began."""
    return (_BEGINS[coordination[0]], *(one for way in coordination for one in _GOES_ON[way]), *_ALWAYS)


#: Runs of these go on even where nothing starts new ones.
SAGAS = (fulfil_order,)
WIRING = wiring(*settings.SHOP_COORDINATION)
#: Switched off, and yet what it reads is a contract.
DORMANT = wiring("choreography")
#: What follows the log to answer questions.
READ_MODELS = (sales, order_list, feed)
#: All reactions an order has by choreography: it has a process while one of them has something to do.
CHOREOGRAPHY = tuple(one.name for one in (_BEGINS["choreography"], *_GOES_ON["choreography"]))
