"""What the rows of all contexts say of an order, in the words of its history."""

from typing import Any
from uuid import UUID

from django.db.models import Model

from inventory.history import GoodsState, Pieces
from inventory.models import Parcel, Reservation
from notifications.history import MessageState, NotificationsState
from notifications.models import Notification
from orders.events import Line
from orders.history import OrderState
from orders.models import Order
from payments.history import CreditState, MoneyState, PaymentState
from payments.models import CreditHold, Payment
from sagas.core.folds import State
from shop.story.history import OrderAsOf


def rows_of(order_id: UUID) -> OrderAsOf:
    return OrderAsOf(
        order=_order(order_id), goods=_goods(order_id), money=_money(order_id), notifications=_notifications(order_id)
    )


def _order(order_id: UUID) -> OrderState:
    order = Order.objects.filter(id=order_id).first()
    if order is None:
        return OrderState()
    lines = [Line.model_validate(_said(line, Line)) for line in order.lines.order_by("pk")]
    return OrderState(**_said(order, OrderState, "lines"), lines=tuple(lines))


def _goods(order_id: UUID) -> GoodsState:
    held = Reservation.objects.filter(order_id=order_id).order_by("pk")
    parcel = Parcel.objects.filter(order_id=order_id).first()
    return GoodsState(
        pieces=tuple(Pieces(**_said(row, Pieces)) for row in held),
        tracking_number="" if parcel is None else parcel.tracking_number,
        booked_at=None if parcel is None else parcel.booked_at,
    )


def _money(order_id: UUID) -> MoneyState:
    payments = Payment.objects.filter(order_id=order_id).order_by("id")
    holds = CreditHold.objects.filter(order_id=order_id).order_by("pk").select_related("account")
    return MoneyState(
        payments=tuple(PaymentState(payment_id=row.id, **_said(row, PaymentState, "payment_id")) for row in payments),
        credit=tuple(
            CreditState(
                customer_email=row.account.customer_email,
                currency=row.account.currency,
                **_said(row, CreditState, "customer_email", "currency"),
            )
            for row in holds
        ),
    )


def _notifications(order_id: UUID) -> NotificationsState:
    messages = Notification.objects.filter(order_id=order_id).order_by("id")
    return NotificationsState(
        messages=tuple(
            MessageState(notification_id=row.id, **_said(row, MessageState, "notification_id")) for row in messages
        )
    )


def _said(row: Model, state: type[State] | type[Line], *but: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in state.model_fields if name not in but}
