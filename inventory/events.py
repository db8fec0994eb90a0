"""Events of the warehouse."""

from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from sagas.core.events import Data, IntegrationEvent

_STOCK: Data = {
    "order_id": "01a2133d-0634-7601-8156-ed54c8ee7b63",
    "lines": [{"sku": "MUG-BLUE", "quantity": 2}],
}


class Held(BaseModel):
    """A quantity of a SKU."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: str
    quantity: int


class _StockEvent(IntegrationEvent):
    aggregate: ClassVar[str] = "reservation"

    order_id: UUID
    lines: tuple[Held, ...]

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class StockReserved(_StockEvent):
    """The stock of an order is held."""

    type: ClassVar[str] = "inventory.stock_reserved"
    example: ClassVar[Data] = _STOCK


class StockReleased(_StockEvent):
    """The stock of an order is free again."""

    type: ClassVar[str] = "inventory.stock_released"
    example: ClassVar[Data] = _STOCK


class _Refused(IntegrationEvent):
    aggregate: ClassVar[str] = "reservation"
    example: ClassVar[Data] = {
        "order_id": _STOCK["order_id"],
        "reason": "Only 1 of Lamp (LAMP) is left, and you asked for 2.",
    }

    order_id: UUID
    reason: str

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class StockRefused(_Refused):
    """An order gets no stock, and why, as the customer reads it."""

    type: ClassVar[str] = "inventory.stock_refused"


class ShipmentRefused(_Refused):
    """No parcel leaves for an order, and why, as the customer reads it; its stock is still held."""

    type: ClassVar[str] = "inventory.shipment_refused"


class ShipmentBooked(_StockEvent):
    """The parcel left."""

    type: ClassVar[str] = "inventory.shipment_booked"
    example: ClassVar[Data] = {**_STOCK, "tracking_number": "PX8156ED54C8EE7B"}

    tracking_number: str
