"""The catalogue and what customers asked for."""

import django.contrib.postgres.indexes
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models

import backoffice.money_fields
import orders.models
import sagas.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL("CREATE SEQUENCE orders_number START 100001", "DROP SEQUENCE orders_number"),
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.UUIDField(default=sagas.core.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "number",
                    models.CharField(
                        db_default=models.Func(
                            output_field=models.CharField(), template="'S' || nextval('orders_number')"
                        ),
                        editable=False,
                        max_length=20,
                        unique=True,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("confirmed", "Confirmed"),
                            ("rejected", "Rejected"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="pending",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, editable=False, max_length=500)),
                ("customer_email", models.EmailField(max_length=254, verbose_name="e-mail")),
                (
                    "customer_name",
                    models.CharField(max_length=200, validators=[orders.models.validate_name], verbose_name="name"),
                ),
                ("payment_method", models.CharField(max_length=50)),
                ("currency", models.CharField(editable=False, max_length=3)),
                ("total_minor", models.PositiveBigIntegerField(editable=False, verbose_name="total (minor units)")),
                (
                    "idempotency_key",
                    models.CharField(blank=True, editable=False, max_length=255, null=True, unique=True),
                ),
                ("request_hash", models.CharField(blank=True, editable=False, max_length=64)),
                ("placed_at", models.DateTimeField(editable=False)),
                ("decided_at", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["status", "-id"], name="orders_by_status"),
                    models.Index(fields=["customer_email", "-id"], name="orders_of_customer"),
                    models.Index(fields=["placed_at", "status"], name="orders_by_day"),
                    django.contrib.postgres.indexes.GinIndex(
                        models.Func(
                            models.F("customer_name"),
                            models.Func(
                                models.F("customer_email"),
                                output_field=models.TextField(),
                                template="translate(%(expressions)s, '@._+-', '     ')",
                            ),
                            arg_joiner=" || ' ' || ",
                            output_field=models.TextField(),
                            template="to_tsvector('simple'::regconfig, %(expressions)s)",
                        ),
                        name="orders_by_word",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "confirmed", "rejected", "cancelled"])),
                        name="orders_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("status", "pending")),
                            models.Q(models.Q(("status", "pending"), _negated=True), ("decided_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="orders_decided_when_not_pending",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("customer_email", django.db.models.functions.text.Lower("customer_email"))),
                        name="orders_email_is_in_small_letters",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "sku",
                    models.CharField(
                        max_length=40,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[A-Za-z0-9][A-Za-z0-9._ -]*$", "Letters, digits, dot, dash and underscore."
                            )
                        ],
                        verbose_name="SKU",
                    ),
                ),
                ("name", models.CharField(max_length=200, validators=[orders.models.validate_name])),
                (
                    "price_minor",
                    models.PositiveBigIntegerField(
                        validators=[django.core.validators.MinValueValidator(1)], verbose_name="price (minor units)"
                    ),
                ),
                ("currency", models.CharField(max_length=3, validators=[backoffice.money_fields.validate_currency])),
                ("active", models.BooleanField(default=True, help_text="Inactive products cannot be ordered.")),
            ],
            options={
                "ordering": ["sku"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", "^[A-Z]{3}$")),
                        name="orders_product_currency_is_in_capitals",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sku", models.CharField(editable=False, max_length=40, verbose_name="SKU")),
                ("name", models.CharField(editable=False, max_length=200)),
                ("quantity", models.PositiveIntegerField(validators=[django.core.validators.MinValueValidator(1)])),
                (
                    "unit_price_minor",
                    models.PositiveBigIntegerField(editable=False, verbose_name="unit price (minor units)"),
                ),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="orders.order",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="orders.product"),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["sku", "-order"], name="orders_lines_of_sku")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("quantity__gt", 0)), name="orders_line_quantity_is_positive"
                    ),
                    models.UniqueConstraint(
                        fields=("order", "sku", "unit_price_minor"), name="orders_one_line_per_sku_and_price"
                    ),
                ],
            },
        ),
    ]
