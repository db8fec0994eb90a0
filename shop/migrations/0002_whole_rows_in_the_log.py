"""The audit trail has the old values of rows, so the write-ahead log must have them: `shop/changes.py`."""

from django.db import migrations

TABLES = ("orders_order", "orders_product", "inventory_stockitem", "payments_creditaccount", "payments_payment")


class Migration(migrations.Migration):
    # One statement for each table, so that no two tables are locked together.
    atomic = False

    dependencies = [
        ("shop", "0001_read_models"),
        ("orders", "0001_initial"),
        ("inventory", "0001_initial"),
        ("payments", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(f"ALTER TABLE {table} REPLICA IDENTITY FULL", f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT")
        for table in TABLES
    ]
