"""The tables of the read models; only `shop/readmodels/` writes them. They can be rebuilt from the log at any time."""

from typing import ClassVar

from django.db import models


class SalesOfDay(models.Model):
    """The sales of a product on a day: lines of the orders that were confirmed on that day."""

    day = models.DateField()
    #: Time zone of the day: that of the shop when the row was counted.
    zone = models.CharField("time zone", max_length=64)
    sku = models.CharField("SKU", max_length=40)
    currency = models.CharField(max_length=3)
    name = models.CharField(max_length=200)
    orders = models.PositiveIntegerField()
    quantity = models.PositiveBigIntegerField()
    total_minor = models.PositiveBigIntegerField("total (minor units)")

    class Meta:
        verbose_name = "sales of a day"
        verbose_name_plural = "sales by day and product"
        constraints = [
            models.UniqueConstraint(
                fields=["day", "zone", "sku", "currency"], name="shop_sales_one_per_day_and_product"
            ),
        ]
        indexes = [models.Index(fields=["-day", "sku"], name="shop_sales_newest")]

    objects: ClassVar[models.Manager["SalesOfDay"]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.sku} on {self.day}"


class CustomerOrder(models.Model):
    """An order as its customer's page shows it, in one row."""

    order_id = models.UUIDField(primary_key=True)
    number = models.CharField(max_length=20)
    customer_email = models.EmailField()
    status = models.CharField(max_length=10)
    reason = models.CharField(max_length=500, blank=True)
    currency = models.CharField(max_length=3)
    total_minor = models.PositiveBigIntegerField("total (minor units)")
    #: What was ordered, in a few words: `2 x Blue mug, 1 x Lamp`.
    contents = models.TextField()
    placed_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    paid = models.BooleanField(default=False)
    tracking_number = models.CharField(max_length=50, blank=True)
    told_at = models.DateTimeField("customer told at", null=True, blank=True)

    class Meta:
        verbose_name = "order as its customer sees it"
        verbose_name_plural = "orders as their customers see them"
        indexes = [
            models.Index(fields=["customer_email", "-placed_at"], name="shop_orders_of_customer"),
            models.Index(fields=["-placed_at"], name="shop_orders_newest"),
        ]

    objects: ClassVar[models.Manager["CustomerOrder"]] = models.Manager()

    def __str__(self) -> str:
        return self.number
