"""The log has an order of its own, followers have a place in it, and deliveries say whether somebody waits for them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0007_versions_of_inputs"),
    ]

    operations = [
        migrations.AddField(
            model_name="event",
            name="log_position",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="delivery",
            name="bulk",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.CreateModel(
            name="Follower",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("position", models.BigIntegerField()),
                ("began_at", models.DateTimeField()),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.AddField(
            model_name="intervention",
            name="follower",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="interventions",
                to="sagas.follower",
            ),
        ),
        migrations.RemoveConstraint(model_name="intervention", name="sagas_intervention_in_a_run_or_a_delivery"),
        migrations.AddConstraint(
            model_name="intervention",
            constraint=models.CheckConstraint(
                condition=models.Q(("delivery", None), ("follower", None), ("run__isnull", False))
                | models.Q(("delivery__isnull", False), ("follower", None), ("run", None))
                | models.Q(("delivery", None), ("follower__isnull", False), ("run", None)),
                name="sagas_intervention_has_one_subject",
            ),
        ),
    ]
