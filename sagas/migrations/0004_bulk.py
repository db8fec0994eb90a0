"""Room in the pages of rows that are updated soon, and a mark for what nobody waits for."""

from django.db import migrations, models

#: A run is updated in every step, a step once or twice, an event once: half a page stays free for the new versions, so
#: that they need no new entries in the indexes (heap-only tuples).
_ROOM = "ALTER TABLE sagas_run SET (fillfactor = 50); ALTER TABLE sagas_steprun SET (fillfactor = 50);"
_NO_ROOM = "ALTER TABLE sagas_run RESET (fillfactor); ALTER TABLE sagas_steprun RESET (fillfactor);"


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0003_finding"),
    ]

    operations = [
        migrations.AddField(
            model_name="event",
            name="bulk",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="run",
            name="bulk",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunSQL(_ROOM, _NO_ROOM),
    ]
