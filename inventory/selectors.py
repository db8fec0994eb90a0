"""Queries of the stock."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from .models import Parcel, Reservation, StockItem


def available(skus: Iterable[str]) -> dict[str, int]:
    """Return the free quantity of each SKU; 0 for an unknown one."""
    wanted = set(skus)
    found = {item.sku: item.available for item in StockItem.objects.filter(sku__in=wanted)}
    return dict.fromkeys(wanted, 0) | found


def reservations(order_id: UUID) -> QuerySet[Reservation]:
    return Reservation.objects.filter(order_id=order_id).order_by("sku")


def parcel(order_id: UUID) -> Parcel | None:
    return Parcel.objects.filter(order_id=order_id).first()


def order_of_parcel(tracking_number: str) -> UUID | None:
    found = Parcel.objects.filter(tracking_number__in={tracking_number, tracking_number.upper()})
    return found.values_list("order_id", flat=True).first()


def known(skus: Iterable[str]) -> set[str]:
    """Return the SKUs that the warehouse knows."""
    return set(StockItem.objects.filter(sku__in=set(skus)).values_list("sku", flat=True))


@dataclass(frozen=True, kw_only=True)
class Goods:
    """What the warehouse holds and sent for an order: pieces by SKU."""

    held: dict[str, int] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)
    shipped: dict[str, int] = field(default_factory=dict)
    #: Tracking number of the parcel; empty if there is none.
    tracking_number: str = ""


def goods(order_ids: Collection[UUID]) -> dict[UUID, Goods]:
    """Return the goods of the orders that have any; two statements, however many orders."""
    pieces: dict[UUID, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    rows = Reservation.objects.filter(order_id__in=order_ids).values_list("order_id", "status", "sku", "quantity")
    for order_id, status, sku, quantity in rows:
        pieces[order_id][status][sku] = quantity
    parcels = dict(Parcel.objects.filter(order_id__in=order_ids).values_list("order_id", "tracking_number"))
    return {
        order_id: Goods(**pieces[order_id], tracking_number=parcels.get(order_id, ""))
        for order_id in {*pieces, *parcels}
    }


def orders_after(reservation_id: int, *, limit: int) -> list[tuple[int, UUID]]:
    """Return the reservations after the given one, each as its id and the id of its order."""
    rows = Reservation.objects.filter(id__gt=reservation_id).order_by("id")
    return list(rows.values_list("id", "order_id")[:limit])


def miscounted() -> list[tuple[str, int, int]]:
    """Return the SKUs whose `reserved` is not the sum of what is held: SKU, reserved, held.

    A partial index holds only the open reservations.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT sku, coalesce(stock.reserved, 0), coalesce(promised.held, 0)
            FROM (SELECT sku, reserved FROM inventory_stockitem WHERE reserved > 0) AS stock
            FULL JOIN (
                SELECT sku, sum(quantity)::bigint AS held
                FROM inventory_reservation WHERE status = 'held' GROUP BY sku
            ) AS promised USING (sku)
            WHERE stock.reserved IS DISTINCT FROM promised.held
            ORDER BY sku
            """
        )
        return [(sku, reserved, held) for sku, reserved, held in cursor.fetchall()]
