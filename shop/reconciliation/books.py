"""The books of an order: the rows of each context about it, side by side."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from backoffice.money import formatted
from inventory import selectors as inventory
from inventory.selectors import Goods
from notifications import selectors as notifications
from orders import selectors as orders
from payments import selectors as payments
from payments.selectors import INVOICE, Balance
from sagas.core.books import Scope
from sagas.core.statuses import OPEN_RUNS
from sagas.operations import queries as sagas
from shop.wiring import CHOREOGRAPHY


@dataclass(frozen=True, kw_only=True)
class Books:
    """One order, or the rest of a deleted one; all read in the same snapshot."""

    order_id: UUID
    #: None if no order has this id.
    order: orders.Order | None = None
    balances: dict[str, Balance] = field(default_factory=dict)
    credit: Any = None
    goods: Goods = field(default_factory=Goods)
    #: Messages to the customer, oldest first.
    messages: list[Any] = field(default_factory=list)
    #: Runs, oldest first.
    runs: list[sagas.Run] = field(default_factory=list)
    #: Whether reactions of the choreography carry it; whether one of them is still to come.
    choreographed: bool = False
    is_choreographed_now: bool = False
    #: One of its events waits for the relay.
    waits_for_the_relay: bool = False
    #: The subscription that sends messages has an open delivery.
    message_is_owed: bool = False

    @property
    def sentence(self) -> str:
        """The order and its status, as the beginning of a message."""
        if self.order is None:
            return f"Order {self.order_id} does not exist"
        return f"Order {self.order.number} is {self.order.status}"

    @property
    def status(self) -> str:
        return "unknown" if self.order is None else self.order.status

    @property
    def under_way(self) -> bool:
        """Its run is open (also while it is undone, paused or needs a person), or some reaction is still to come."""
        if self.choreographed:
            return self.is_choreographed_now or self.waits_for_the_relay
        return any(run.status in OPEN_RUNS for run in self.runs)

    @property
    def has_a_process(self) -> bool:
        return bool(self.runs) or self.choreographed

    @property
    def total_minor(self) -> int:
        return 0 if self.order is None else self.order.total_minor

    @property
    def currency(self) -> str:
        if self.order is not None:
            return self.order.currency
        return next(iter(self.balances), "" if self.credit is None else self.credit.currency)

    @property
    def balance(self) -> Balance:
        return self.balances.get(self.currency, Balance())

    @property
    def credit_minor(self) -> int:
        return 0 if self.credit is None else int(self.credit.amount_minor)

    @property
    def by_invoice(self) -> bool:
        return self.order is not None and self.order.payment_method == INVOICE

    @property
    def is_paid(self) -> bool:
        """The whole total is charged, or held from the customer's credit."""
        paid = self.credit_minor if self.by_invoice else self.balance.kept_minor
        return paid == self.total_minor and self.order is not None

    @property
    def ordered(self) -> dict[str, int]:
        """Pieces by SKU."""
        pieces: dict[str, int] = {}
        for line in () if self.order is None else self.order.lines.all():
            pieces[line.sku] = pieces.get(line.sku, 0) + line.quantity
        return pieces

    def amount(self, minor: int) -> str:
        return formatted(minor, self.currency)

    def facts(self, **more: Any) -> dict[str, Any]:
        """Return the facts of every finding about an order, and `more`."""
        runs = [{"id": str(run.id), "saga": run.saga, "status": run.status} for run in self.runs]
        number = None if self.order is None else self.order.number
        return {"order": number, "order_id": str(self.order_id), "status": self.status, **more, "runs": runs}


def books(scope: Scope) -> list[Books]:
    """Return the books of all orders of a turn; ten statements, however many orders, twelve if one has no run."""
    ids = [order_id for key in scope.keys if (order_id := as_uuid(key)) is not None]
    keys = [str(order_id) for order_id in ids]
    found, balances, credit = orders.by_id(ids), payments.balances(ids), payments.credit_held(ids)
    goods, messages, runs = inventory.goods(ids), notifications.of_orders(ids), sagas.runs(keys)
    without = [key for key in keys if key not in runs]
    choreographed = sagas.choreographed(CHOREOGRAPHY, without) if without else {}
    waiting, owed = sagas.waiting_for_the_relay(keys), sagas.owed("send-notification", keys)
    return [
        Books(
            order_id=order_id,
            order=found.get(order_id),
            balances=balances.get(order_id, {}),
            credit=credit.get(order_id),
            goods=goods.get(order_id, Goods()),
            messages=messages.get(order_id, []),
            runs=runs.get(str(order_id), []),
            choreographed=str(order_id) in choreographed,
            is_choreographed_now=choreographed.get(str(order_id), False),
            waits_for_the_relay=str(order_id) in waiting,
            message_is_owed=str(order_id) in owed,
        )
        for order_id in ids
    ]


def as_uuid(key: str) -> UUID | None:
    """Return a key as an order id; None if it is a key of another kind."""
    try:
        order_id = UUID(key)
    except ValueError:
        return None
    return order_id if str(order_id) == key else None
