"""Each row says whose day it counts; until now that was UTC."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_whole_rows_in_the_log")]

    operations = [
        migrations.AddField(
            model_name="salesofday",
            name="zone",
            field=models.CharField(default="UTC", max_length=64, verbose_name="time zone"),
            preserve_default=False,
        ),
        migrations.RemoveConstraint(model_name="salesofday", name="shop_sales_one_per_day_and_product"),
        migrations.AddConstraint(
            model_name="salesofday",
            constraint=models.UniqueConstraint(
                fields=("day", "zone", "sku", "currency"), name="shop_sales_one_per_day_and_product"
            ),
        ),
    ]
