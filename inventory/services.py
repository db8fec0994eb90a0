"""Holding stock, giving it back, sending it away."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from django.db import connection, transaction

from sagas.db.rows import array, insert_all
from sagas.log import outbox

from .errors import NothingReserved, OutOfStock, ReservationEnded, ReservedAlready
from .events import Held, ShipmentBooked, ShipmentRefused, StockRefused, StockReleased, StockReserved
from .models import Parcel, Reservation, StockItem


@dataclass(frozen=True, kw_only=True)
class StockRequest:
    """What `reserve` is asked for: quantities by SKU, under a key."""

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


def reserve(*, order_id: UUID, quantities: Iterable[tuple[str, int]], key: str, now: datetime) -> list[Reservation]:
    """Hold stock for an order: all of it or nothing.

    Transaction: opens one.
    Idempotent: by `key` + SKU; a repeat returns what is held.

    Args:
        quantities: SKU and how many; a SKU may stand twice.

    Raises:
        OutOfStock: Rejected; nothing is held.
        ReservedAlready: Rejected; the order has stock under another key.
        ReservationEnded: Rejected; `release` came first, under this key.
    """
    wanted = StockRequest.of(order_id=order_id, quantities=quantities, key=key).wanted
    with transaction.atomic():
        # First the locks, then the look: a second try at the same moment waits here and finds what the first one did.
        stock = _locked(wanted)
        held = [
            reservation
            for reservation in Reservation.objects.filter(order_id=order_id)
            if reservation.key == key or reservation.status != Reservation.Status.RELEASED
        ]
        if held:
            return _repeat(order_id, held, key)
        for sku, quantity in wanted.items():
            available = stock[sku].available if sku in stock else 0
            if available < quantity:
                raise OutOfStock(sku, wanted=quantity, available=available)
        _move(wanted, on_hand=0, reserved=1)
        reservations = Reservation.objects.bulk_create(
            Reservation(order_id=order_id, key=key, sku=sku, quantity=quantity, reserved_at=now)
            for sku, quantity in wanted.items()
        )
        outbox.emit(StockReserved(order_id=order_id, lines=_lines(reservations)), now=now)
    return reservations


def reserve_many(requests: Sequence[StockRequest], *, now: datetime) -> dict[UUID, list[Reservation]]:
    """Hold stock for many orders; return what is held, by order. An order that cannot have all of it is left out.

    Transaction: opens one.
    Idempotent: by order; one that has or had stock already is left out.
    """
    with transaction.atomic():
        stock = _locked(sku for request in requests for sku in request.wanted)
        known = set(
            Reservation.objects.filter(order_id__in=[request.order_id for request in requests]).values_list(
                "order_id", flat=True
            )
        )
        taken: dict[str, int] = defaultdict(int)
        reservations: dict[UUID, list[Reservation]] = {}
        for request in requests:
            fits = all(
                sku in stock and stock[sku].available - taken[sku] >= quantity
                for sku, quantity in request.wanted.items()
            )
            if request.order_id in known or not fits:
                continue
            for sku, quantity in request.wanted.items():
                taken[sku] += quantity
            reservations[request.order_id] = [
                Reservation(order_id=request.order_id, key=request.key, sku=sku, quantity=quantity, reserved_at=now)
                for sku, quantity in request.wanted.items()
            ]
        _move(taken, on_hand=0, reserved=1)
        insert_all([row for rows in reservations.values() for row in rows])
        outbox.emit(
            *(StockReserved(order_id=order_id, lines=_lines(rows)) for order_id, rows in reservations.items()), now=now
        )
    return reservations


def release(*, order_id: UUID, key: str, now: datetime) -> list[Reservation]:
    """Give back what is held for an order under a key; harmless where nothing is.

    Transaction: opens one.
    Idempotent: by `key` + SKU.
    """
    with transaction.atomic():
        held = [reservation for reservation in _held(order_id) if reservation.key in (key, "")]
        if held:
            quantities = {reservation.sku: reservation.quantity for reservation in held}
            _locked(quantities)
            _move(quantities, on_hand=0, reserved=-1)
            _end(order_id, Reservation.Status.RELEASED, now)
            outbox.emit(StockReleased(order_id=order_id, lines=_lines(held)), now=now)
    return held


def book_shipment(*, order_id: UUID, now: datetime) -> Parcel:
    """Send what is held for an order on its way.

    Transaction: opens one.
    Idempotent: by `order_id`; a repeat returns the parcel.

    Raises:
        NothingReserved: Rejected; there is nothing to send.
    """
    with transaction.atomic():
        held = _held(order_id)  # waits for a second try at the same moment, as in `reserve`
        parcel = Parcel.objects.filter(order_id=order_id).first()
        if parcel is not None:
            return parcel
        if not held:
            raise NothingReserved(order_id)
        quantities = {reservation.sku: reservation.quantity for reservation in held}
        _locked(quantities)
        _move(quantities, on_hand=-1, reserved=-1)
        _end(order_id, Reservation.Status.SHIPPED, now)
        parcel = _parcel(order_id, now)
        parcel.save(force_insert=True)
        outbox.emit(_booked(parcel, held), now=now)
    return parcel


def book_shipments(order_ids: Collection[UUID], *, now: datetime) -> dict[UUID, Parcel]:
    """Send what is held for many orders on its way; return the new parcels, by order.

    Transaction: opens one.
    Idempotent: by order; one that has a parcel, or nothing held, is left out.
    """
    with transaction.atomic():
        held: dict[UUID, list[Reservation]] = defaultdict(list)
        for reservation in (
            Reservation.objects.filter(order_id__in=order_ids, status=Reservation.Status.HELD)
            .order_by("order_id", "sku")
            .select_for_update()
        ):
            held[reservation.order_id].append(reservation)
        for order_id in Parcel.objects.filter(order_id__in=order_ids).values_list("order_id", flat=True):
            held.pop(order_id, None)
        quantities: dict[str, int] = defaultdict(int)
        for rows in held.values():
            for reservation in rows:
                quantities[reservation.sku] += reservation.quantity
        _locked(quantities)
        _move(quantities, on_hand=-1, reserved=-1)
        Reservation.objects.filter(pk__in=[row.pk for rows in held.values() for row in rows]).update(
            status=Reservation.Status.SHIPPED, ended_at=now
        )
        parcels = {order_id: _parcel(order_id, now) for order_id in held}
        insert_all(list(parcels.values()))
        outbox.emit(*(_booked(parcel, held[order_id]) for order_id, parcel in parcels.items()), now=now)
    return parcels


def refuse(*, order_id: UUID, reason: str, now: datetime) -> None:
    """Tell that an order gets no stock, and why, as the customer reads it.

    Transaction: opens one.
    Idempotent: no; the caller tells it once.
    """
    with transaction.atomic():
        outbox.emit(StockRefused(order_id=order_id, reason=reason), now=now)


def refuse_shipment(*, order_id: UUID, reason: str, now: datetime) -> None:
    """As `refuse`, of the parcel; what is held stays held until it is released."""
    with transaction.atomic():
        outbox.emit(ShipmentRefused(order_id=order_id, reason=reason), now=now)


def receive(quantities: Mapping[str, int]) -> None:
    """Put goods into the warehouse, SKU to quantity, on top of what is there.

    Transaction: a single statement.
    Idempotent: no; each call is a new consignment.
    """
    with connection.cursor() as cursor:
        # The database sorts: its order of SKUs, in which `_locked` takes them too, is not Python's.
        cursor.execute(
            """
            INSERT INTO inventory_stockitem (sku, on_hand, reserved)
            SELECT sku, quantity, 0 FROM unnest(%s::text[], %s::bigint[]) AS received (sku, quantity) ORDER BY sku
            ON CONFLICT (sku) DO UPDATE SET on_hand = inventory_stockitem.on_hand + EXCLUDED.on_hand
            """,
            [array(quantities), array(quantities.values())],
        )


def _locked(skus: Iterable[str]) -> dict[str, StockItem]:
    """Lock stock rows, always in the order of their SKU, so that no two orders wait for each other."""
    return {item.sku: item for item in StockItem.objects.filter(sku__in=set(skus)).order_by("sku").select_for_update()}


def _repeat(order_id: UUID, held: list[Reservation], key: str) -> list[Reservation]:
    if any(reservation.key not in (key, "") for reservation in held):
        raise ReservedAlready(order_id)
    if any(reservation.status == Reservation.Status.RELEASED for reservation in held):
        raise ReservationEnded(order_id)
    return held


def _held(order_id: UUID) -> list[Reservation]:
    return list(
        Reservation.objects.filter(order_id=order_id, status=Reservation.Status.HELD)
        .order_by("sku")
        .select_for_update()
    )


def _move(quantities: Mapping[str, int], *, on_hand: int, reserved: int) -> None:
    """Add so many times (1, 0 or -1) each quantity to the columns of locked stock rows, in one statement."""
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


def _end(order_id: UUID, status: Reservation.Status, now: datetime) -> None:
    Reservation.objects.filter(order_id=order_id, status=Reservation.Status.HELD).update(status=status, ended_at=now)


def _parcel(order_id: UUID, now: datetime) -> Parcel:
    parcel = Parcel(order_id=order_id, booked_at=now)
    parcel.tracking_number = f"PX{parcel.id.hex[-14:].upper()}"
    return parcel


def _booked(parcel: Parcel, held: Sequence[Reservation]) -> ShipmentBooked:
    return ShipmentBooked(order_id=parcel.order_id, lines=_lines(held), tracking_number=parcel.tracking_number)


def _lines(reservations: Sequence[Reservation]) -> tuple[Held, ...]:
    return tuple(Held(sku=reservation.sku, quantity=reservation.quantity) for reservation in reservations)
