"""The events that stand in the log already get their places in it."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

#: Events of one statement: a second's work, so that nothing waits long for the rows it holds.
_PORTION = 20_000
#: Numbers what the relay has taken, in the order of writing, from where it was left when the migration was killed. What
#: an older relay takes while this runs stays without a number, and the relay of this code takes it once more.
_NUMBER = """
    WITH taken AS (
        SELECT position, row_number() OVER (ORDER BY position) AS number FROM (
            SELECT position FROM sagas_event WHERE position > %s AND relayed_at IS NOT NULL ORDER BY position LIMIT %s
        ) AS portion
    ), numbered AS (
        UPDATE sagas_event AS stored SET log_position = %s + taken.number FROM taken
        WHERE stored.position = taken.position RETURNING stored.position, stored.log_position
    ) SELECT max(position), max(log_position) FROM numbered
    """


def number(_: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT max(position), max(log_position) FROM sagas_event WHERE log_position IS NOT NULL")
        position, log_position = cursor.fetchone()
        while True:
            cursor.execute(_NUMBER, [position or 0, _PORTION, log_position or 0])
            portion = cursor.fetchone()
            if portion[0] is None:
                return
            position, log_position = portion


class Migration(migrations.Migration):
    # Numbers, builds and drops while the shop is at work.
    atomic = False

    dependencies = [
        ("sagas", "0008_followers"),
    ]

    operations = [
        migrations.RunPython(number, migrations.RunPython.noop),
        # What a migration that was killed here has left behind, perhaps half built.
        migrations.RunSQL(
            "ALTER TABLE sagas_event DROP CONSTRAINT IF EXISTS sagas_event_one_per_log_position",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS sagas_event_one_per_log_position", migrations.RunSQL.noop),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY sagas_event_one_per_log_position ON sagas_event (log_position)",
                    "DROP INDEX CONCURRENTLY IF EXISTS sagas_event_one_per_log_position",
                ),
                migrations.RunSQL(
                    "ALTER TABLE sagas_event ADD CONSTRAINT sagas_event_one_per_log_position"
                    " UNIQUE USING INDEX sagas_event_one_per_log_position",
                    "ALTER TABLE sagas_event DROP CONSTRAINT sagas_event_one_per_log_position",
                ),
            ],
            [
                migrations.AddConstraint(
                    model_name="event",
                    constraint=models.UniqueConstraint(
                        fields=("log_position",), name="sagas_event_one_per_log_position"
                    ),
                ),
            ],
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS sagas_event_to_number", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="event",
            index=models.Index(
                condition=models.Q(("log_position", None)), fields=["bulk", "position"], name="sagas_event_to_number"
            ),
        ),
        RemoveIndexConcurrently(model_name="event", name="sagas_event_waiting"),
    ]
