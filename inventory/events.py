"""What happens in the warehouse."""

from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from sagas.events import DomainEvent


class Held(BaseModel):
    """So much of a SKU."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: str
    quantity: int


class _StockEvent(DomainEvent):
    aggregate: ClassVar[str] = "reservation"

    order_id: UUID
    lines: tuple[Held, ...]

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class StockReserved(_StockEvent):
    """The stock of an order is held."""

    type: ClassVar[str] = "inventory.stock_reserved"


class StockReleased(_StockEvent):
    """The stock of an order is free again."""

    type: ClassVar[str] = "inventory.stock_released"


class ShipmentBooked(_StockEvent):
    """The parcel left."""

    type: ClassVar[str] = "inventory.shipment_booked"

    tracking_number: str
