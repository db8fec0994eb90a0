"""The state of an order: a fold of its events. Pure; the row holds the same state and is faster to read.

The events do not have `idempotency_key` and `request_hash`, which recognize a caller's second request: they are no
state of the order.
"""

from datetime import datetime

from sagas.core.folds import Fold, State, when

from .events import Line, OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected


class OrderState(State):
    """An order at one moment; `status` is empty until it is placed."""

    number: str = ""
    status: str = ""
    #: Why it was rejected or cancelled, for the customer.
    reason: str = ""
    customer_email: str = ""
    customer_name: str = ""
    payment_method: str = ""
    currency: str = ""
    total_minor: int = 0
    lines: tuple[Line, ...] = ()
    placed_at: datetime | None = None
    decided_at: datetime | None = None

    @property
    def is_placed(self) -> bool:
        return self.placed_at is not None


def _placed(_: OrderState, event: OrderPlaced, at: datetime) -> OrderState:
    return OrderState(
        number=event.number,
        status="pending",
        customer_email=event.customer_email,
        customer_name=event.customer_name,
        payment_method=event.payment_method,
        currency=event.currency,
        total_minor=event.total_minor,
        lines=event.lines,
        placed_at=at,
    )


def _confirmed(order: OrderState, _: OrderConfirmed, at: datetime) -> OrderState:
    return order.model_copy(update={"status": "confirmed", "decided_at": at})


def _rejected(order: OrderState, event: OrderRejected, at: datetime) -> OrderState:
    return order.model_copy(update={"status": "rejected", "reason": event.reason, "decided_at": at})


def _cancelled(order: OrderState, event: OrderCancelled, at: datetime) -> OrderState:
    return order.model_copy(update={"status": "cancelled", "reason": event.reason, "decided_at": at})


ORDER = Fold(
    name="order",
    start=OrderState(),
    rules=(
        when(OrderPlaced, _placed),
        when(OrderConfirmed, _confirmed),
        when(OrderRejected, _rejected),
        when(OrderCancelled, _cancelled),
    ),
)
