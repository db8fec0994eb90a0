from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0003_no_index_twice"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="reservation",
            name="inventory_one_reservation_per_key_and_sku",
        ),
        migrations.AlterField(
            model_name="reservation",
            name="key",
            field=models.CharField(max_length=150),
        ),
        migrations.AddConstraint(
            model_name="reservation",
            constraint=models.UniqueConstraint(fields=("key", "sku"), name="inventory_one_reservation_per_key_and_sku"),
        ),
    ]
