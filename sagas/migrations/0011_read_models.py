"""Followers say when they last moved, and why they stopped."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0010_deliveries_that_gave_up"),
    ]

    operations = [
        migrations.AddField(
            model_name="follower",
            name="error",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="follower",
            name="moved_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
