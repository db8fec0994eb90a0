"""Plain names for the positions of the reconciliation; changes without an event are those whose list is empty.

Workers of the code before run until they are restarted. So the two columns keep their names, and `told`, which only
said whether the list is empty, stays in the database: these workers still write it. Rows of the new code have no value
there; a filter of the code before finds them neither with an event nor without.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sagas", "0002_remove_unread_columns")]

    operations = [
        migrations.AlterField(
            "reconciliation", "looked_at", models.PositiveBigIntegerField(default=0, db_column="looked_at")
        ),
        migrations.RenameField("reconciliation", "looked_at", "checked_position"),
        migrations.AlterField(
            "reconciliation", "looked_again_at", models.PositiveBigIntegerField(default=0, db_column="looked_again_at")
        ),
        migrations.RenameField("reconciliation", "looked_again_at", "rechecked_position"),
        migrations.AlterField(
            "steprun",
            "action",
            models.CharField(choices=[("run", "run"), ("undo", "undo")], default="run", max_length=4),
        ),
        migrations.RemoveIndex("auditrecord", "sagas_audit_untold"),
        migrations.RunSQL(
            "ALTER TABLE sagas_auditrecord ALTER COLUMN told DROP NOT NULL",
            reverse_sql=migrations.RunSQL.noop,
            state_operations=[migrations.RemoveField("auditrecord", "told")],
        ),
        migrations.AddIndex(
            "auditrecord",
            models.Index(fields=["-id"], condition=models.Q(events=[]), name="sagas_audit_without_event"),
        ),
    ]
