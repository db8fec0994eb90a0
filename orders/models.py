"""The catalogue (product, price) and orders."""

import unicodedata
from typing import TYPE_CHECKING, ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Lower

from backoffice.money_fields import validate_currency
from sagas.core.ids import new_id

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager


#: Unicode's categories of what a name cannot hold: control characters (line breaks, NUL), lone surrogates, line and
#: paragraph separators. Spaces of every width, joiners and directional marks are in other categories.
_NOT_IN_A_NAME = {"Cc", "Cs", "Zl", "Zp"}


def validate_name(name: str) -> None:
    """Refuse an invalid name of a person or product: one rule for the API, the admin and the import."""
    categories = {unicodedata.category(letter) for letter in name}
    if categories & _NOT_IN_A_NAME:
        raise ValidationError("Control characters and line breaks are not allowed.", code="control_characters")
    if all(category[0] in "ZC" for category in categories):
        raise ValidationError("A name is needed.", code="invisible")


class Product(models.Model):
    """Something the shop sells."""

    sku = models.CharField(
        "SKU",
        max_length=40,
        unique=True,
        validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._ -]*$", "Letters, digits, dot, dash and underscore.")],
    )
    name = models.CharField(max_length=200, validators=[validate_name])
    #: Minor units (pence, cents).
    price_minor = models.PositiveBigIntegerField("price (minor units)", validators=[MinValueValidator(1)])
    currency = models.CharField(max_length=3, validators=[validate_currency])
    active = models.BooleanField(default=True, help_text="Inactive products cannot be ordered.")

    class Meta:
        ordering = ["sku"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(currency__regex="^[A-Z]{3}$"), name="orders_product_currency_is_in_capitals"
            )
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"


def words_of_customer() -> models.Func:
    """Return the words of a customer's name and e-mail address, as the index `orders_by_word` holds them."""
    email = models.Func(
        models.F("customer_email"),
        template="translate(%(expressions)s, '@._+-', '     ')",
        output_field=models.TextField(),
    )
    # In alphabetical order, as a migration writes them: in another order Django sees another index.
    return models.Func(
        models.F("customer_name"),
        email,
        arg_joiner=" || ' ' || ",
        output_field=models.TextField(),
        template="to_tsvector('simple'::regconfig, %(expressions)s)",
    )


class Order(models.Model):
    """An order of a customer, and its status."""

    class Status(models.TextChoices):
        PENDING = "pending"
        CONFIRMED = "confirmed"
        REJECTED = "rejected"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    #: The number for people, assigned by the database: `S100001` and up.
    number = models.CharField(
        max_length=20,
        unique=True,
        editable=False,
        db_default=models.Func(template="'S' || nextval('orders_number')", output_field=models.CharField()),
    )
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING, editable=False)
    #: Why it was rejected or cancelled, for the customer.
    reason = models.CharField(max_length=500, blank=True, editable=False)
    #: In the form of `backoffice.customers.identity`.
    customer_email = models.EmailField("e-mail")
    customer_name = models.CharField("name", max_length=200, validators=[validate_name])
    payment_method = models.CharField(max_length=50)
    currency = models.CharField(max_length=3, editable=False)
    total_minor = models.PositiveBigIntegerField("total (minor units)", editable=False)
    #: The caller's own key: a second order with the same one is the same order.
    idempotency_key = models.CharField(max_length=255, null=True, blank=True, unique=True, editable=False)
    #: Hash of the request with that key.
    request_hash = models.CharField(max_length=64, blank=True, editable=False)
    placed_at = models.DateTimeField(editable=False)
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=["pending", "confirmed", "rejected", "cancelled"]),
                name="orders_status_is_known",
            ),
            models.CheckConstraint(
                condition=models.Q(status="pending", decided_at=None)
                | ~models.Q(status="pending") & models.Q(decided_at__isnull=False),
                name="orders_decided_when_not_pending",
            ),
            models.CheckConstraint(
                condition=models.Q(customer_email=Lower("customer_email")), name="orders_email_is_in_small_letters"
            ),
        ]
        indexes = [
            models.Index(fields=["status", "-id"], name="orders_by_status"),
            models.Index(fields=["customer_email", "-id"], name="orders_of_customer"),
            # The figures of the day, by an index-only scan.
            models.Index(fields=["placed_at", "status"], name="orders_by_day"),
            # Words of a name or an e-mail address, by prefix.
            GinIndex(words_of_customer(), name="orders_by_word"),
        ]

    lines: "RelatedManager[OrderLine]"
    objects: ClassVar[models.Manager["Order"]] = models.Manager()

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    """One product of an order, with the price it was sold at."""

    #: Its index is the unique constraint `orders_one_line_per_sku_and_price`.
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines", db_index=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, db_index=False)
    sku = models.CharField("SKU", max_length=40, editable=False)
    name = models.CharField(max_length=200, editable=False)
    quantity = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    unit_price_minor = models.PositiveBigIntegerField("unit price (minor units)", editable=False)

    class Meta:
        # For a search in the admin: the newest orders of a product.
        indexes = [models.Index(fields=["sku", "-order"], name="orders_lines_of_sku")]
        constraints = [
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="orders_line_quantity_is_positive"),
            models.UniqueConstraint(
                fields=["order", "sku", "unit_price_minor"], name="orders_one_line_per_sku_and_price"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.sku}"
