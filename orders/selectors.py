"""Queries of orders and of the catalogue."""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import BooleanField, Count, Exists, Func, OuterRef, Q, QuerySet, Value

from backoffice.customers import identity

from .models import Order, OrderLine, Product, words_of_customer

#: With `Order`, which the queries return: `shop` names the type, and does not import `orders.models`.
__all__ = [
    "Order",
    "by_id",
    "by_key",
    "count_by_status",
    "for_sale",
    "ids_after",
    "named_like",
    "numbered",
    "numbers",
    "of_customer",
    "of_product",
    "order",
    "orders",
    "pending",
    "pending_after",
    "placed_by_status",
    "placed_under",
    "products",
]


def orders() -> QuerySet[Order]:
    return Order.objects.prefetch_related("lines")


def order(order_id: UUID) -> Order | None:
    return orders().filter(id=order_id).first()


def numbers(order_ids: Collection[UUID]) -> dict[UUID, str]:
    return dict(Order.objects.filter(id__in=order_ids).values_list("id", "number"))


def numbered(number: str) -> UUID | None:
    """Return the id of the order with this number."""
    return Order.objects.filter(number=number).values_list("id", flat=True).first()


def of_product(sku: str) -> Exists | None:
    """Return the condition that an order has a product; None if none has it."""
    lines = OrderLine.objects.filter(sku__in={sku, sku.upper()})
    return Exists(lines.filter(order=OuterRef("pk"))) if lines.exists() else None


def placed_under(key: str) -> list[UUID]:
    """Return the orders placed under an idempotency key, and under keys made of it, a space and more."""
    of_key = Q(idempotency_key=key) | Q(idempotency_key__startswith=f"{key} ")
    return list(Order.objects.filter(of_key).values_list("id", flat=True)[:100])


def named_like(words: Iterable[str]) -> Func:
    """Return the condition that the name or e-mail address of a customer has a word with each of these prefixes.

    Args:
        words: prefixes, of letters and digits only.
    """
    query = Func(
        Value(" & ".join(f"'{word}':*" for word in words)), template="to_tsquery('simple'::regconfig, %(expressions)s)"
    )
    return Func(words_of_customer(), query, template="%(expressions)s", arg_joiner=" @@ ", output_field=BooleanField())


def of_customer(email: str, *, since: datetime | None = None, limit: int) -> list[Order]:
    """Return the newest orders of a customer, without their lines."""
    mine = Order.objects.filter(customer_email=identity(email))
    mine = mine if since is None else mine.filter(placed_at__gt=since)
    return list(mine.order_by("-id")[:limit])


def products(skus: Iterable[str]) -> dict[str, Product]:
    """Return the products that can be ordered, by SKU."""
    return {product.sku: product for product in Product.objects.filter(sku__in=set(skus), active=True)}


def for_sale(*, after: str, limit: int) -> list[Product]:
    """Return products that can be ordered, in the order of their SKUs, after the given SKU."""
    return list(Product.objects.filter(active=True, sku__gt=after).order_by("sku")[:limit])


def count_by_status(order_ids: Collection[UUID]) -> dict[str, int]:
    counted = Order.objects.filter(id__in=order_ids).order_by().values_list("status").annotate(Count("id"))
    return dict(counted)


def pending(order_ids: Collection[UUID]) -> list[UUID]:
    """Return the orders that are not decided."""
    return list(Order.objects.filter(id__in=order_ids, status=Order.Status.PENDING).values_list("id", flat=True))


def placed_by_status(*, since: datetime) -> dict[str, int]:
    """Return the numbers of orders placed since then, by status."""
    rows = Order.objects.filter(placed_at__gte=since).order_by().values_list("status").annotate(count=Count("pk"))
    return dict(rows)


def by_id(order_ids: Collection[UUID]) -> dict[UUID, Order]:
    """Return orders with their lines; two statements, however many orders."""
    return {order.id: order for order in orders().filter(id__in=order_ids)}


def by_key(keys: Iterable[str]) -> dict[str, Order]:
    """Return orders with their lines, by idempotency key; two statements, however many orders."""
    return {order.idempotency_key or "": order for order in orders().filter(idempotency_key__in=list(keys))}


def ids_after(order_id: UUID | None, *, limit: int) -> list[UUID]:
    """Return the ids of the orders after the given one, in their order; of the first ones, for None."""
    return _ids_after(Order.objects.all(), order_id, limit)


def pending_after(order_id: UUID | None, *, limit: int) -> list[UUID]:
    """As `ids_after`, for orders that are not decided."""
    return _ids_after(Order.objects.filter(status=Order.Status.PENDING), order_id, limit)


def _ids_after(rows: QuerySet[Order], order_id: UUID | None, limit: int) -> list[UUID]:
    rows = rows if order_id is None else rows.filter(id__gt=order_id)
    return list(rows.order_by("id").values_list("id", flat=True)[:limit])
