"""The tables of the read models; the read models fill them from the event log."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

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
                        fields=("day", "sku", "currency"), name="shop_sales_one_per_day_and_product"
                    )
                ],
            },
        ),
    ]
