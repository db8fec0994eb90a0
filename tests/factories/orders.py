"""Orders: asked for, placed by the service, and lines that no service would save."""

from collections.abc import Sequence
from typing import Any, Protocol

from django.utils import timezone
from factory.base import Factory
from factory.declarations import LazyAttribute, LazyFunction, SelfAttribute
from factory.django import DjangoModelFactory

from orders import services as orders
from orders.models import Order, OrderLine

#: SKU and quantity.
Lines = Sequence[tuple[str, int]]
TWO_MUGS: Lines = (("MUG", 2),)


class Place(Protocol):
    """The fixture `place`: places an order of two mugs by card; everything can be said otherwise."""

    def __call__(self, payment_method: str = "tok_visa", *, lines: Lines = TWO_MUGS, **more: Any) -> Order: ...


def _requested(lines: Lines) -> list[orders.LineRequest]:
    return [orders.LineRequest(sku=sku, quantity=quantity) for sku, quantity in lines]


class OrderRequestFactory(Factory[orders.OrderRequest]):
    """What one customer asks for: `of` are SKU and quantity, `lines` the service's own."""

    class Meta:
        model = orders.OrderRequest

    class Params:
        of = TWO_MUGS

    customer_email = "ada@example.com"
    customer_name = "Ada Lovelace"
    payment_method = "tok_visa"
    lines = LazyAttribute(lambda asked: _requested(asked.of))


class PlacedOrderFactory(Factory[Order]):
    """An order placed by the service, with its lines and its event; the products are there (`fill_catalogue`)."""

    class Meta:
        model = orders.place

    class Params:
        of = TWO_MUGS

    customer_email = "ada@example.com"
    customer_name = "Ada Lovelace"
    payment_method = "tok_visa"
    lines = LazyAttribute(lambda asked: _requested(asked.of))
    now = LazyFunction(timezone.now)


class OrderLineFactory(DjangoModelFactory[OrderLine]):
    """A line by itself: for what the database refuses. `order` and `product` are to be given."""

    class Meta:
        model = OrderLine

    sku = SelfAttribute("product.sku")
    name = SelfAttribute("product.name")
    quantity = 1
    unit_price_minor = SelfAttribute("product.price_minor")
