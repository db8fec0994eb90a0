from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0004_currencies_and_customers"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="credithold",
            name="payments_one_hold_per_key",
        ),
        migrations.AlterField(
            model_name="credithold",
            name="key",
            field=models.CharField(max_length=150),
        ),
        migrations.AddConstraint(
            model_name="credithold",
            constraint=models.UniqueConstraint(fields=("key",), name="payments_one_hold_per_key"),
        ),
    ]
