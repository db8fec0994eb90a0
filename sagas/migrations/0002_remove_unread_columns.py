"""Forgets two columns that nothing reads.

The columns stay in the database: workers of the code before, which run until they are restarted, still use them.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("sagas", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE sagas_snapshot ALTER COLUMN taken_at SET DEFAULT now()",
            reverse_sql="ALTER TABLE sagas_snapshot ALTER COLUMN taken_at DROP DEFAULT",
            state_operations=[
                migrations.RemoveField("snapshot", "taken_at"),
                migrations.RemoveField("follower", "moved_at"),
            ],
        ),
    ]
