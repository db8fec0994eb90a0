"""Questions about the stock."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from .models import Parcel, Reservation, StockItem


def available(skus: Iterable[str]) -> dict[str, int]:
    """Return how much of each SKU can be promised; 0 for one the warehouse does not know."""
    wanted = set(skus)
    found = {item.sku: item.available for item in StockItem.objects.filter(sku__in=wanted)}
    return dict.fromkeys(wanted, 0) | found


def reservations(order_id: UUID) -> QuerySet[Reservation]:
    return Reservation.objects.filter(order_id=order_id).order_by("sku")


def parcel(order_id: UUID) -> Parcel | None:
    return Parcel.objects.filter(order_id=order_id).first()


def known(skus: Iterable[str]) -> set[str]:
    """Return those SKUs the warehouse has a shelf for."""
    return set(StockItem.objects.filter(sku__in=set(skus)).values_list("sku", flat=True))
