"""Payments, customers' credit, and the books of the fake provider."""

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from backoffice.customers import identity
from backoffice.money import formatted
from backoffice.money_fields import validate_currency
from sagas.core.ids import new_id


class Payment(models.Model):
    """One attempt to charge for an order, and its status. Amounts in minor units."""

    class Status(models.TextChoices):
        CAPTURED = "captured"
        DECLINED = "declined"
        REFUNDED = "refunded"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    order_id = models.UUIDField()
    #: The provider's key of the payment; fixed before the first call.
    key = models.CharField(max_length=150)
    status = models.CharField(max_length=10, choices=Status.choices)
    amount_minor = models.PositiveBigIntegerField("amount (minor units)")
    currency = models.CharField(max_length=3)
    method = models.CharField(max_length=50)
    provider_reference = models.CharField(max_length=100, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    made_at = models.DateTimeField()
    refunded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            # Not `unique=True`: that makes a second index, for prefix searches, which are not needed.
            models.UniqueConstraint(fields=["key"], name="payments_one_payment_per_key"),
            models.UniqueConstraint(
                fields=["order_id"], condition=Q(status="captured"), name="payments_one_capture_per_order"
            ),
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="payments_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(status__in=["captured", "declined", "refunded"]), name="payments_status_is_known"
            ),
        ]
        indexes = [models.Index(fields=["order_id"], name="payments_of_order")]

    def __str__(self) -> str:
        return f"{self.status} {formatted(self.amount_minor, self.currency)}"


class CreditAccount(models.Model):
    """The credit limit of a customer who pays by invoice."""

    #: In the form of `backoffice.customers.identity`.
    customer_email = models.EmailField("customer's e-mail", unique=True)
    currency = models.CharField(max_length=3, validators=[validate_currency])
    limit_minor = models.PositiveBigIntegerField("limit (minor units)")
    held_minor = models.PositiveBigIntegerField("held (minor units)", default=0, editable=False)

    class Meta:
        ordering = ["customer_email"]
        constraints = [
            models.CheckConstraint(condition=Q(held_minor__lte=F("limit_minor")), name="payments_credit_in_limit"),
            models.CheckConstraint(
                condition=Q(customer_email=Lower("customer_email")), name="payments_credit_email_is_in_small_letters"
            ),
            models.CheckConstraint(
                condition=Q(currency__regex="^[A-Z]{3}$"), name="payments_credit_currency_is_in_capitals"
            ),
        ]

    def __str__(self) -> str:
        return self.customer_email

    @property
    def available_minor(self) -> int:
        return self.limit_minor - self.held_minor

    def clean(self) -> None:
        self.customer_email = identity(self.customer_email)
        limit_minor: int | None = self.limit_minor  # None if the typed text is not an amount
        if limit_minor is not None and limit_minor < self.held_minor:
            held = formatted(self.held_minor, self.currency)
            raise ValidationError({"limit_minor": f"{held} of it is held by open orders."})


class CreditHold(models.Model):
    """Credit held for one order."""

    class Status(models.TextChoices):
        HELD = "held"
        RELEASED = "released"

    order_id = models.UUIDField()
    #: Key of the step that holds it: the undo of the step releases only this hold.
    key = models.CharField(max_length=150)
    #: Its index is the partial index `payments_held_of_account`.
    account = models.ForeignKey(CreditAccount, on_delete=models.PROTECT, related_name="holds", db_index=False)
    amount_minor = models.PositiveBigIntegerField("amount (minor units)")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.HELD)
    held_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["order_id"], name="payments_hold_of_order"),
            # The sum of the open holds of an account, by an index-only scan.
            models.Index(
                fields=["account"],
                include=["amount_minor"],
                condition=Q(status="held"),
                name="payments_held_of_account",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["order_id"], condition=Q(status="held"), name="payments_one_live_hold_per_order"
            ),
            models.UniqueConstraint(fields=["key"], name="payments_one_hold_per_key"),
            models.CheckConstraint(condition=Q(status__in=["held", "released"]), name="payments_hold_status_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.status} {formatted(self.amount_minor, self.currency)}"

    @property
    def currency(self) -> str:
        return self.account.currency


class FakeCharge(models.Model):
    """The books of the fake provider: its charge under each key, also if its answer was lost."""

    class Status(models.TextChoices):
        NEW = "new"
        CHARGED = "charged"
        DECLINED = "declined"
        REFUNDED = "refunded"
        CANCELLED = "cancelled"

    key = models.CharField(max_length=150)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    amount_minor = models.PositiveBigIntegerField(default=0)
    currency = models.CharField(max_length=3, blank=True)
    method = models.CharField(max_length=50, blank=True)
    #: Number of calls to charge.
    calls = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key"], name="payments_one_charge_per_key")]

    def __str__(self) -> str:
        return f"{self.key}: {self.status}"
