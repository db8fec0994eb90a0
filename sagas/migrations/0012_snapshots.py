"""What subjects had become: a cache of their events."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0011_read_models"),
    ]

    operations = [
        migrations.CreateModel(
            name="Snapshot",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("fold", models.CharField(max_length=100)),
                ("fingerprint", models.CharField(max_length=16)),
                ("aggregate", models.CharField(max_length=50)),
                ("subject", models.CharField(max_length=100)),
                ("sequence", models.PositiveIntegerField()),
                ("state", models.JSONField()),
                ("taken_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("fold", "aggregate", "subject"), name="sagas_one_snapshot_per_subject"
                    )
                ],
            },
        ),
    ]
