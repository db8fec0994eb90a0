"""Services of the warehouse: reserve stock, release it, ship it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from django.db import connection, transaction

from sagas.core.errors import Rejected
from sagas.db.rows import array, insert_all
from sagas.log import outbox

from .errors import NothingReserved, OutOfStock, ReservationEnded, ReservedAlready
from .events import Held, ShipmentBooked, ShipmentRefused, StockRefused, StockReleased, StockReserved
from .models import Parcel, Reservation, StockItem


@dataclass(frozen=True, kw_only=True)
class StockRequest:
    """A request to hold stock for an order: quantities by SKU, under a key."""

    order_id: UUID
    wanted: Mapping[str, int]
    key: str

    @classmethod
    def of(cls, *, order_id: UUID, quantities: Iterable[tuple[str, int]], key: str) -> Self:
        """Return the request; a SKU may stand twice in `quantities`."""
        wanted: dict[str, int] = defaultdict(int)
        for sku, quantity in quantities:
            wanted[sku] += quantity
        return cls(order_id=order_id, wanted=wanted, key=key)


def reserve_many(requests: Sequence[StockRequest], *, now: datetime) -> dict[UUID, list[Reservation] | Rejected]:
    """Hold stock for orders: for each order all or nothing. Return the reservations, or the refusal, by order.

    Refusals: `OutOfStock`; `ReservedAlready`, the order has stock under another key; `ReservationEnded`, `release` came
    first, under this key.

    Transaction: opens one.
    Idempotent: by `key` + SKU; a repeat returns the reservations.
    """
    with transaction.atomic():
        # Lock first, then read: a concurrent second try waits here, and then finds the rows of the first.
        stock = _locked(sku for request in requests for sku in request.wanted)
        earlier: dict[UUID, list[Reservation]] = defaultdict(list)
        for reservation in Reservation.objects.filter(order_id__in=[request.order_id for request in requests]):
            earlier[reservation.order_id].append(reservation)
        taken: dict[str, int] = defaultdict(int)
        new: dict[UUID, list[Reservation]] = {}
        outcomes: dict[UUID, list[Reservation] | Rejected] = {}
        for request in requests:
            outcome = _earlier(request, earlier[request.order_id]) or _refusal(request, stock, taken)
            if outcome is None:
                for sku, quantity in request.wanted.items():
                    taken[sku] += quantity
                outcome = new[request.order_id] = [
                    Reservation(order_id=request.order_id, key=request.key, sku=sku, quantity=quantity, reserved_at=now)
                    for sku, quantity in request.wanted.items()
                ]
            outcomes[request.order_id] = outcome
        _move(taken, on_hand=0, reserved=1)
        insert_all([row for rows in new.values() for row in rows])
        outbox.emit(*(StockReserved(order_id=order_id, lines=_lines(rows)) for order_id, rows in new.items()), now=now)
    return outcomes


def _earlier(request: StockRequest, reservations: Sequence[Reservation]) -> list[Reservation] | Rejected | None:
    """Return the outcome of an earlier try, if there was one."""
    held = [
        reservation
        for reservation in reservations
        if reservation.key == request.key or reservation.status != Reservation.Status.RELEASED
    ]
    if any(reservation.key != request.key for reservation in held):
        return ReservedAlready(request.order_id)
    if any(reservation.status == Reservation.Status.RELEASED for reservation in held):
        return ReservationEnded(request.order_id)
    return held or None


def _refusal(request: StockRequest, stock: Mapping[str, StockItem], taken: Mapping[str, int]) -> OutOfStock | None:
    """Return why an order cannot get all its goods; None if it can."""
    for sku, quantity in request.wanted.items():
        available = stock[sku].available - taken[sku] if sku in stock else 0
        if available < quantity:
            return OutOfStock(sku, wanted=quantity, available=available)
    return None


def release(*, order_id: UUID, key: str, now: datetime) -> list[Reservation]:
    """Release the stock that is held for an order under a key; without any it does nothing.

    Transaction: opens one.
    Idempotent: by `key` + SKU.
    """
    with transaction.atomic():
        held = [reservation for reservation in _held([order_id])[order_id] if reservation.key == key]
        if held:
            quantities = {reservation.sku: reservation.quantity for reservation in held}
            _locked(quantities)
            _move(quantities, on_hand=0, reserved=-1)
            _end(held, Reservation.Status.RELEASED, now)
            outbox.emit(StockReleased(order_id=order_id, lines=_lines(held)), now=now)
    return held


def book_shipments(order_ids: Collection[UUID], *, now: datetime) -> dict[UUID, Parcel | Rejected]:
    """Ship the stock that is held for orders. Return the parcel, or the refusal `NothingReserved`, by order.

    Transaction: opens one.
    Idempotent: by order; a repeat returns the parcel.
    """
    with transaction.atomic():
        held = _held(order_ids)  # a concurrent second try waits here, as in `reserve_many`
        parcels = {parcel.order_id: parcel for parcel in Parcel.objects.filter(order_id__in=order_ids)}
        sent = {order_id: rows for order_id, rows in held.items() if order_id not in parcels}
        quantities: dict[str, int] = defaultdict(int)
        for rows in sent.values():
            for reservation in rows:
                quantities[reservation.sku] += reservation.quantity
        _locked(quantities)
        _move(quantities, on_hand=-1, reserved=-1)
        _end([row for rows in sent.values() for row in rows], Reservation.Status.SHIPPED, now)
        new = {order_id: _parcel(order_id, now) for order_id in sent}
        insert_all(list(new.values()))
        outbox.emit(*(_booked(parcel, held[order_id]) for order_id, parcel in new.items()), now=now)
    parcels |= new
    return {order_id: parcels.get(order_id) or NothingReserved(order_id) for order_id in order_ids}


def refuse(*, order_id: UUID, reason: str, now: datetime) -> None:
    """Publish that an order gets no stock, with the reason for the customer.

    Transaction: opens one.
    Idempotent: no; the caller publishes it once.
    """
    with transaction.atomic():
        outbox.emit(StockRefused(order_id=order_id, reason=reason), now=now)


def refuse_shipment(*, order_id: UUID, reason: str, now: datetime) -> None:
    """As `refuse`, for the parcel; held stock stays held until it is released."""
    with transaction.atomic():
        outbox.emit(ShipmentRefused(order_id=order_id, reason=reason), now=now)


def receive(quantities: Mapping[str, int]) -> None:
    """Add goods to the stock, as quantities by SKU.

    Transaction: a single statement.
    Idempotent: no; each call is a new consignment.
    """
    with connection.cursor() as cursor:
        # The database sorts: its order of SKUs, which `_locked` uses too, is not Python's.
        cursor.execute(
            """
            INSERT INTO inventory_stockitem (sku, on_hand, reserved)
            SELECT sku, quantity, 0 FROM unnest(%s::text[], %s::bigint[]) AS received (sku, quantity) ORDER BY sku
            ON CONFLICT (sku) DO UPDATE SET on_hand = inventory_stockitem.on_hand + EXCLUDED.on_hand
            """,
            [array(quantities), array(quantities.values())],
        )


def _locked(skus: Iterable[str]) -> dict[str, StockItem]:
    """Lock stock rows, always in the order of their SKU, so that two orders cannot deadlock."""
    return {item.sku: item for item in StockItem.objects.filter(sku__in=set(skus)).order_by("sku").select_for_update()}


def _held(order_ids: Collection[UUID]) -> dict[UUID, list[Reservation]]:
    """Lock the reservations of orders."""
    held: dict[UUID, list[Reservation]] = defaultdict(list)
    for reservation in (
        Reservation.objects.filter(order_id__in=order_ids, status=Reservation.Status.HELD)
        .order_by("order_id", "sku")
        .select_for_update()
    ):
        held[reservation.order_id].append(reservation)
    return held


def _move(quantities: Mapping[str, int], *, on_hand: int, reserved: int) -> None:
    """Add each quantity, times a factor (1, 0 or -1), to the columns of locked stock rows, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE inventory_stockitem AS stock
            SET on_hand = on_hand + %s * quantity, reserved = reserved + %s * quantity
            FROM unnest(%s::text[], %s::bigint[]) AS moved (sku, quantity)
            WHERE stock.sku = moved.sku
            """,
            [on_hand, reserved, array(quantities), array(quantities.values())],
        )


def _end(held: Sequence[Reservation], status: Reservation.Status, now: datetime) -> None:
    Reservation.objects.filter(pk__in=[row.pk for row in held]).update(status=status, ended_at=now)


def _parcel(order_id: UUID, now: datetime) -> Parcel:
    parcel = Parcel(order_id=order_id, booked_at=now)
    parcel.tracking_number = f"PX{parcel.id.hex[-14:].upper()}"
    return parcel


def _booked(parcel: Parcel, held: Sequence[Reservation]) -> ShipmentBooked:
    return ShipmentBooked(order_id=parcel.order_id, lines=_lines(held), tracking_number=parcel.tracking_number)


def _lines(reservations: Sequence[Reservation]) -> tuple[Held, ...]:
    return tuple(Held(sku=reservation.sku, quantity=reservation.quantity) for reservation in reservations)
