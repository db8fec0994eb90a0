"""The catalogue."""

from django.conf import settings
from factory.declarations import LazyAttribute, LazyFunction, Sequence
from factory.django import DjangoModelFactory

from inventory import services as inventory
from orders import services as orders
from orders.models import Product

#: Name and price in minor units by SKU: what `fill_shelves` sells.
CATALOGUE = {"MUG": ("Mug", 1000), "TRAY": ("Tray", 2500), "LAMP": ("Lamp", 5000)}
PIECES = 100


class ProductFactory(DjangoModelFactory[Product]):
    class Meta:
        model = Product

    sku = Sequence(lambda number: f"SKU-{number}")
    name = LazyAttribute(lambda product: product.sku.title())
    price_minor = 1000
    currency = LazyFunction(lambda: settings.CURRENCY)


def fill_catalogue() -> None:
    """Offer three products."""
    products = [(sku, name, price_minor) for sku, (name, price_minor) in CATALOGUE.items()]
    orders.add_products(products, currency=settings.CURRENCY)


def fill_shelves() -> None:
    """Offer three products with 100 pieces each."""
    fill_catalogue()
    inventory.receive(dict.fromkeys(CATALOGUE, PIECES))
