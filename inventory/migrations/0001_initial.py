"""The stock, reservations and parcels."""

import django.core.validators
from django.db import migrations, models

import sagas.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Parcel",
            fields=[
                (
                    "id",
                    models.UUIDField(default=sagas.core.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("order_id", models.UUIDField()),
                ("tracking_number", models.CharField(max_length=40)),
                ("booked_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("order_id",), name="inventory_one_parcel_per_order"),
                    models.UniqueConstraint(
                        fields=("tracking_number",), name="inventory_one_parcel_per_tracking_number"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Reservation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_id", models.UUIDField()),
                ("key", models.CharField(max_length=150)),
                ("sku", models.CharField(max_length=40, verbose_name="SKU")),
                ("quantity", models.PositiveIntegerField()),
                (
                    "status",
                    models.CharField(
                        choices=[("held", "Held"), ("released", "Released"), ("shipped", "Shipped")],
                        default="held",
                        max_length=10,
                    ),
                ),
                ("reserved_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("status", "held")), fields=["sku"], name="inventory_held"),
                    models.Index(fields=["order_id"], name="inventory_of_order"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["held", "shipped"])),
                        fields=("order_id", "sku"),
                        name="inventory_one_live_reservation_per_order_and_sku",
                    ),
                    models.UniqueConstraint(fields=("key", "sku"), name="inventory_one_reservation_per_key_and_sku"),
                    models.CheckConstraint(
                        condition=models.Q(("quantity__gt", 0)), name="inventory_reservation_is_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["held", "released", "shipped"])),
                        name="inventory_reservation_status_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="StockItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sku", models.CharField(max_length=40, unique=True, verbose_name="SKU")),
                (
                    "on_hand",
                    models.PositiveBigIntegerField(default=0, validators=[django.core.validators.MinValueValidator(0)]),
                ),
                ("reserved", models.PositiveBigIntegerField(default=0, editable=False)),
            ],
            options={
                "ordering": ["sku"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("reserved__lte", models.F("on_hand"))), name="inventory_reserved_is_on_hand"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("on_hand__gte", 0), ("reserved__gte", 0)),
                        name="inventory_stock_not_negative",
                    ),
                ],
            },
        ),
    ]
