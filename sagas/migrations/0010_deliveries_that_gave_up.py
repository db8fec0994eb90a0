"""A delivery may give up and have something follow from that, instead of being parked."""

from django.db import migrations, models

import sagas.core.statuses


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0009_order_of_the_log"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="delivery",
            name="sagas_delivery_status_is_known",
        ),
        migrations.AlterField(
            model_name="delivery",
            name="status",
            field=models.CharField(
                choices=[
                    ("pending", "pending"),
                    ("running", "running"),
                    ("done", "done"),
                    ("parked", "parked"),
                    ("failed", "failed"),
                    ("skipped", "skipped"),
                ],
                default=sagas.core.statuses.DeliveryStatus["PENDING"],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "running", "done", "parked", "failed", "skipped"])),
                name="sagas_delivery_status_is_known",
            ),
        ),
    ]
