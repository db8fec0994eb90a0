"""The tables of the read models."""

from django.db import migrations, models

#: The audit trail has the old values of rows, so the write-ahead log must have them: `shop/changes.py`.
_AUDITED = ("orders_order", "orders_product", "inventory_stockitem", "payments_creditaccount", "payments_payment")


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("orders", "0001_initial"),
        ("inventory", "0001_initial"),
        ("payments", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="CustomerOrder",
            fields=[
                ("order_id", models.UUIDField(primary_key=True, serialize=False)),
                ("number", models.CharField(max_length=20)),
                ("customer_email", models.EmailField(max_length=254)),
                ("status", models.CharField(max_length=10)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("currency", models.CharField(max_length=3)),
                ("total_minor", models.PositiveBigIntegerField(verbose_name="total (minor units)")),
                ("contents", models.TextField()),
                ("placed_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("paid", models.BooleanField(default=False)),
                ("tracking_number", models.CharField(blank=True, max_length=50)),
                ("told_at", models.DateTimeField(blank=True, null=True, verbose_name="customer told at")),
            ],
            options={
                "verbose_name": "order as its customer sees it",
                "verbose_name_plural": "orders as their customers see them",
                "indexes": [
                    models.Index(fields=["customer_email", "-placed_at"], name="shop_orders_of_customer"),
                    models.Index(fields=["-placed_at"], name="shop_orders_newest"),
                ],
            },
        ),
        migrations.CreateModel(
            name="SalesOfDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("zone", models.CharField(max_length=64, verbose_name="time zone")),
                ("sku", models.CharField(max_length=40, verbose_name="SKU")),
                ("currency", models.CharField(max_length=3)),
                ("name", models.CharField(max_length=200)),
                ("orders", models.PositiveIntegerField()),
                ("quantity", models.PositiveBigIntegerField()),
                ("total_minor", models.PositiveBigIntegerField(verbose_name="total (minor units)")),
            ],
            options={
                "verbose_name": "sales of a day",
                "verbose_name_plural": "sales by day and product",
                "indexes": [models.Index(fields=["-day", "sku"], name="shop_sales_newest")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("day", "zone", "sku", "currency"), name="shop_sales_one_per_day_and_product"
                    )
                ],
            },
        ),
        *(
            migrations.RunSQL(
                f"ALTER TABLE {table} REPLICA IDENTITY FULL", f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT"
            )
            for table in _AUDITED
        ),
    ]
