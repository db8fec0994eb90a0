"""What happens to orders."""

from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from sagas.events import DomainEvent


class Line(BaseModel):
    """One line of an order; prices in minor units of the order's currency."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: str
    name: str
    quantity: int
    unit_price_minor: int


class _OrderEvent(DomainEvent):
    aggregate: ClassVar[str] = "order"

    order_id: UUID
    number: str

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class OrderPlaced(_OrderEvent):
    """A customer asked for something; carries all its readers need, so that nobody has to ask back."""

    type: ClassVar[str] = "orders.order_placed"

    customer_email: str
    customer_name: str
    payment_method: str
    currency: str
    total_minor: int
    lines: tuple[Line, ...]


class OrderConfirmed(_OrderEvent):
    """The customer gets what they asked for."""

    type: ClassVar[str] = "orders.order_confirmed"


class OrderCancelled(_OrderEvent):
    """Somebody called it off, and why, as the customer reads it."""

    type: ClassVar[str] = "orders.order_cancelled"

    reason: str


class OrderRejected(_OrderEvent):
    """The customer does not get it, and why."""

    type: ClassVar[str] = "orders.order_rejected"

    reason: str
