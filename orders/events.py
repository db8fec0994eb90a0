"""Events of orders."""

from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from sagas.core.events import Data, IntegrationEvent

_ORDER: Data = {"order_id": "01a2133d-0634-7601-8156-ed54c8ee7b63", "number": "S100001"}


class Line(BaseModel):
    """One line of an order; prices in minor units of the order's currency."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: str
    name: str
    quantity: int
    unit_price_minor: int


class _OrderEvent(IntegrationEvent):
    aggregate: ClassVar[str] = "order"

    order_id: UUID
    number: str

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class OrderPlaced(_OrderEvent):
    """A customer placed an order; the event has all data that its readers need."""

    type: ClassVar[str] = "orders.order_placed"
    example: ClassVar[Data] = {
        **_ORDER,
        "customer_email": "ada@example.com",
        "customer_name": "Ada Lovelace",
        "payment_method": "tok_visa",
        "currency": "GBP",
        "total_minor": 2000,
        "lines": [{"sku": "MUG-BLUE", "name": "Blue mug", "quantity": 2, "unit_price_minor": 1000}],
    }

    customer_email: str
    customer_name: str
    payment_method: str
    currency: str
    total_minor: int
    lines: tuple[Line, ...]


class OrderConfirmed(_OrderEvent):
    """The customer gets the order."""

    type: ClassVar[str] = "orders.order_confirmed"
    example: ClassVar[Data] = _ORDER


class OrderCancelled(_OrderEvent):
    """The order was cancelled by a person, with the reason for the customer."""

    type: ClassVar[str] = "orders.order_cancelled"
    example: ClassVar[Data] = {**_ORDER, "reason": "Ordered twice."}

    reason: str


class OrderRejected(_OrderEvent):
    """The customer does not get the order, with the reason."""

    type: ClassVar[str] = "orders.order_rejected"
    example: ClassVar[Data] = {**_ORDER, "reason": "Blue mug is sold out."}

    reason: str
