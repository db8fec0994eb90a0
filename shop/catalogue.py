"""The products for sale: cached, and invalidated after every change of a product."""

from typing import Any

from django.conf import settings

from backoffice.money import formatted
from orders import selectors as orders

from .platform.cache import Cached

CATALOGUE = Cached("catalogue", seconds=settings.CACHE_SECONDS)


def page(*, after: str, limit: int) -> list[dict[str, Any]]:
    """Return a page of products in the order of their SKUs, from the first SKU behind `after`."""
    return CATALOGUE.get(f"{limit}:{after}", lambda: _read(after, limit))


def _read(after: str, limit: int) -> list[dict[str, Any]]:
    return [
        {
            "sku": product.sku,
            "name": product.name,
            "currency": product.currency,
            "price_minor": product.price_minor,
            "price": formatted(product.price_minor, product.currency),
        }
        for product in orders.for_sale(after=after, limit=limit)
    ]
