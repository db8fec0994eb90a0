"""Stock, reservations, and parcels."""

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

from sagas.core.ids import new_id


class StockItem(models.Model):
    """The stock of a SKU, and the reserved part of it."""

    sku = models.CharField("SKU", max_length=40, unique=True)
    on_hand = models.PositiveBigIntegerField(default=0, validators=[MinValueValidator(0)])
    reserved = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["sku"]
        constraints = [
            models.CheckConstraint(condition=Q(reserved__lte=F("on_hand")), name="inventory_reserved_is_on_hand"),
            models.CheckConstraint(condition=Q(on_hand__gte=0, reserved__gte=0), name="inventory_stock_not_negative"),
        ]

    def __str__(self) -> str:
        return self.sku

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


class Reservation(models.Model):
    """Stock of one SKU held for one order."""

    class Status(models.TextChoices):
        HELD = "held"
        RELEASED = "released"
        SHIPPED = "shipped"

    order_id = models.UUIDField()
    #: Key of the step that holds it: the undo of the step releases only reservations with this key.
    key = models.CharField(max_length=150)
    sku = models.CharField("SKU", max_length=40)
    quantity = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.HELD)
    reserved_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["order_id", "sku"],
                condition=Q(status__in=["held", "shipped"]),
                name="inventory_one_live_reservation_per_order_and_sku",
            ),
            models.UniqueConstraint(fields=["key", "sku"], name="inventory_one_reservation_per_key_and_sku"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="inventory_reservation_is_positive"),
            models.CheckConstraint(
                condition=Q(status__in=["held", "released", "shipped"]), name="inventory_reservation_status_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["sku"], name="inventory_held", condition=Q(status="held")),
            models.Index(fields=["order_id"], name="inventory_of_order"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.sku}"


class Parcel(models.Model):
    """A parcel that left the warehouse for an order; it cannot be taken back."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    order_id = models.UUIDField()
    tracking_number = models.CharField(max_length=40)
    booked_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order_id"], name="inventory_one_parcel_per_order"),
            # Not `unique=True`: that makes a second index, for prefix searches, which are not needed.
            models.UniqueConstraint(fields=["tracking_number"], name="inventory_one_parcel_per_tracking_number"),
        ]

    def __str__(self) -> str:
        return self.tracking_number
