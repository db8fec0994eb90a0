"""A range of the log can be owed to one follower once more; an index finds the range."""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Builds the index while the shop is at work.
    atomic = False

    dependencies = [
        ("sagas", "0012_snapshots"),
    ]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="replays",
            field=models.PositiveSmallIntegerField(
                db_default=0, default=0, help_text="How often it was owed once more after it was done."
            ),
        ),
        migrations.AddField(
            model_name="intervention",
            name="replay",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="intervention",
            name="action",
            field=models.CharField(
                choices=[
                    ("retry", "Retry"),
                    ("skip", "Skip"),
                    ("undo", "Undo"),
                    ("cancel", "Cancel"),
                    ("pause", "Pause"),
                    ("resume", "Resume"),
                    ("replay", "Replay"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="intervention",
            constraint=models.UniqueConstraint(
                condition=models.Q(("action", "replay"), ("status", "pending")),
                fields=("follower",),
                name="sagas_one_replay_under_way_per_follower",
            ),
        ),
        # What a migration that was killed here has left behind, perhaps half built.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS sagas_event_time", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="event",
            index=BrinIndex(autosummarize=True, fields=["occurred_at"], name="sagas_event_time"),
        ),
    ]
