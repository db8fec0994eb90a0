"""Events wait in the order in which the relay takes them; the index that nothing used goes."""

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Built and dropped while the shop is at work.
    atomic = False

    dependencies = [
        ("sagas", "0004_bulk"),
    ]

    operations = [
        # What a migration that was killed here has left behind, perhaps half built.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS sagas_event_waiting", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="event",
            index=models.Index(
                condition=models.Q(("relayed_at", None)), fields=["bulk", "position"], name="sagas_event_waiting"
            ),
        ),
        RemoveIndexConcurrently(
            model_name="event",
            name="sagas_event_to_relay",
        ),
        # The unique constraint on run and place serves the same questions.
        migrations.AlterField(
            model_name="steprun",
            name="run",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="steps",
                to="sagas.run",
            ),
        ),
    ]
