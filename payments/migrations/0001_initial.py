"""Every movement of money, and credit accounts."""

import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models

import backoffice.money_fields
import sagas.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="CreditAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("customer_email", models.EmailField(max_length=254, unique=True, verbose_name="customer's e-mail")),
                ("currency", models.CharField(max_length=3, validators=[backoffice.money_fields.validate_currency])),
                ("limit_minor", models.PositiveBigIntegerField(verbose_name="limit (minor units)")),
                (
                    "held_minor",
                    models.PositiveBigIntegerField(default=0, editable=False, verbose_name="held (minor units)"),
                ),
            ],
            options={
                "ordering": ["customer_email"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("held_minor__lte", models.F("limit_minor"))),
                        name="payments_credit_in_limit",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("customer_email", django.db.models.functions.text.Lower("customer_email"))),
                        name="payments_credit_email_is_in_small_letters",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", "^[A-Z]{3}$")),
                        name="payments_credit_currency_is_in_capitals",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FakeCharge",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=150)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("new", "New"),
                            ("charged", "Charged"),
                            ("declined", "Declined"),
                            ("refunded", "Refunded"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="new",
                        max_length=10,
                    ),
                ),
                ("amount_minor", models.PositiveBigIntegerField(default=0)),
                ("currency", models.CharField(blank=True, max_length=3)),
                ("method", models.CharField(blank=True, max_length=50)),
                ("calls", models.PositiveIntegerField(default=0)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("key",), name="payments_one_charge_per_key")],
            },
        ),
        migrations.CreateModel(
            name="Payment",
            fields=[
                (
                    "id",
                    models.UUIDField(default=sagas.core.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("order_id", models.UUIDField()),
                ("key", models.CharField(max_length=150)),
                (
                    "status",
                    models.CharField(
                        choices=[("captured", "Captured"), ("declined", "Declined"), ("refunded", "Refunded")],
                        max_length=10,
                    ),
                ),
                ("amount_minor", models.PositiveBigIntegerField(verbose_name="amount (minor units)")),
                ("currency", models.CharField(max_length=3)),
                ("method", models.CharField(max_length=50)),
                ("provider_reference", models.CharField(blank=True, max_length=100)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("made_at", models.DateTimeField()),
                ("refunded_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["order_id"], name="payments_of_order")],
                "constraints": [
                    models.UniqueConstraint(fields=("key",), name="payments_one_payment_per_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "captured")),
                        fields=("order_id",),
                        name="payments_one_capture_per_order",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount_minor__gt", 0)), name="payments_amount_is_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["captured", "declined", "refunded"])),
                        name="payments_status_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CreditHold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_id", models.UUIDField()),
                ("key", models.CharField(max_length=150)),
                ("amount_minor", models.PositiveBigIntegerField(verbose_name="amount (minor units)")),
                (
                    "status",
                    models.CharField(
                        choices=[("held", "Held"), ("released", "Released")], default="held", max_length=10
                    ),
                ),
                ("held_at", models.DateTimeField()),
                ("released_at", models.DateTimeField(blank=True, null=True)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="holds",
                        to="payments.creditaccount",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["order_id"], name="payments_hold_of_order"),
                    models.Index(
                        condition=models.Q(("status", "held")),
                        fields=["account"],
                        include=("amount_minor",),
                        name="payments_held_of_account",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status", "held")),
                        fields=("order_id",),
                        name="payments_one_live_hold_per_order",
                    ),
                    models.UniqueConstraint(fields=("key",), name="payments_one_hold_per_key"),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["held", "released"])), name="payments_hold_status_is_known"
                    ),
                ],
            },
        ),
    ]
