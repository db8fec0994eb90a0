"""Questions about orders and the catalogue."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from .models import Order, Product


def orders() -> QuerySet[Order]:
    return Order.objects.prefetch_related("lines")


def order(order_id: UUID) -> Order | None:
    return orders().filter(id=order_id).first()


def products(skus: Iterable[str]) -> dict[str, Product]:
    """Return the products that can be ordered, by SKU."""
    return {product.sku: product for product in Product.objects.filter(sku__in=set(skus), active=True)}
