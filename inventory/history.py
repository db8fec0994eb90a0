"""The goods of an order, held and sent: a fold of the warehouse's events. Pure.

The events do not have the `key` of the step that held the goods: it is no state of the goods.
"""

from collections.abc import Iterable
from datetime import datetime

from sagas.core.folds import Fold, State, when

from .events import Held, ShipmentBooked, ShipmentRefused, StockRefused, StockReleased, StockReserved


class Pieces(State):
    """A quantity of a SKU that was held for an order, and its status."""

    sku: str
    quantity: int
    status: str = "held"
    reserved_at: datetime
    ended_at: datetime | None = None


class GoodsState(State):
    """The goods of an order at some moment, in the order in which they were held."""

    pieces: tuple[Pieces, ...] = ()
    #: Tracking number of the parcel; empty until it left.
    tracking_number: str = ""
    booked_at: datetime | None = None
    #: Why there is no stock, or no parcel; in the events of a choreographed order only.
    refused: str = ""


def _refused(goods: GoodsState, event: StockRefused | ShipmentRefused, _: datetime) -> GoodsState:
    return goods.model_copy(update={"refused": event.reason})


def _reserved(goods: GoodsState, event: StockReserved, at: datetime) -> GoodsState:
    held = tuple(Pieces(sku=line.sku, quantity=line.quantity, reserved_at=at) for line in event.lines)
    return goods.model_copy(update={"pieces": goods.pieces + held})


def _released(goods: GoodsState, event: StockReleased, at: datetime) -> GoodsState:
    return goods.model_copy(update={"pieces": _ended(goods, event.lines, "released", at)})


def _booked(goods: GoodsState, event: ShipmentBooked, at: datetime) -> GoodsState:
    shipped = _ended(goods, event.lines, "shipped", at)
    return goods.model_copy(update={"pieces": shipped, "tracking_number": event.tracking_number, "booked_at": at})


def _ended(goods: GoodsState, lines: Iterable[Held], status: str, at: datetime) -> tuple[Pieces, ...]:
    """End the reservations of these SKUs: an order has one open reservation of each."""
    skus = {line.sku for line in lines}
    return tuple(
        each.model_copy(update={"status": status, "ended_at": at})
        if each.status == "held" and each.sku in skus
        else each
        for each in goods.pieces
    )


GOODS = Fold(
    name="goods",
    start=GoodsState(),
    rules=(
        when(StockReserved, _reserved),
        when(StockReleased, _released),
        when(ShipmentBooked, _booked),
        when(StockRefused, _refused),
        when(ShipmentRefused, _refused),
    ),
)
