"""A run knows in which version of its contract its input was written."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0006_open_runs"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="input_version",
            field=models.PositiveSmallIntegerField(db_default=1, default=1),
        ),
    ]
