"""What lies in the warehouse, is held for orders, and was sent."""

from uuid import uuid4

from django.utils import timezone
from factory.declarations import LazyFunction, Sequence
from factory.django import DjangoModelFactory

from inventory.models import Parcel, Reservation, StockItem


class StockItemFactory(DjangoModelFactory[StockItem]):
    class Meta:
        model = StockItem

    sku = Sequence(lambda number: f"SKU-{number}")


class ReservationFactory(DjangoModelFactory[Reservation]):
    """Pieces held of which the stock knows nothing: for what the database refuses and what the books find."""

    class Meta:
        model = Reservation

    order_id = LazyFunction(uuid4)
    key = Sequence(lambda number: f"key-{number}")
    sku = "MUG"
    quantity = 1
    reserved_at = LazyFunction(timezone.now)


class ParcelFactory(DjangoModelFactory[Parcel]):
    class Meta:
        model = Parcel

    order_id = LazyFunction(uuid4)
    tracking_number = Sequence(lambda number: f"P{number}")
    booked_at = LazyFunction(timezone.now)
