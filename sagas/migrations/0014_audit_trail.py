"""What became of rows that somebody may ask about: only ever added to."""

from django.db import migrations, models

#: Records are added, and old ones may go where somebody says so: `SET sagas.forget = 'on'` (docs/cdc.md).
REFUSE = """
    CREATE FUNCTION sagas_audit_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('sagas.forget', true) = 'on' THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'the audit trail is only added to';
    END $$;
    CREATE TRIGGER sagas_audit_is_only_added_to BEFORE UPDATE OR DELETE ON sagas_auditrecord
        FOR EACH STATEMENT EXECUTE FUNCTION sagas_audit_is_only_added_to();
    """
ALLOW = """
    DROP TRIGGER sagas_audit_is_only_added_to ON sagas_auditrecord;
    DROP FUNCTION sagas_audit_is_only_added_to();
    """


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0013_replays"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("lsn", models.BigIntegerField()),
                ("number", models.PositiveIntegerField()),
                ("transaction_id", models.BigIntegerField()),
                ("committed_at", models.DateTimeField()),
                ("table", models.CharField(max_length=100)),
                ("row", models.CharField(max_length=255)),
                ("name", models.CharField(blank=True, max_length=255)),
                ("action", models.CharField(max_length=10)),
                ("before", models.JSONField()),
                ("after", models.JSONField()),
                ("events", models.JSONField()),
                ("told", models.BooleanField()),
            ],
            options={
                "verbose_name": "change",
                "verbose_name_plural": "audit trail",
                "indexes": [
                    models.Index(fields=["table", "-id"], name="sagas_audit_of_table"),
                    models.Index(fields=["row", "-id"], name="sagas_audit_of_row"),
                    models.Index(fields=["name", "-id"], name="sagas_audit_of_name"),
                    models.Index(condition=models.Q(("told", False)), fields=["-id"], name="sagas_audit_untold"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("committed_at", "lsn", "number"), name="sagas_audit_one_per_change")
                ],
            },
        ),
        migrations.RunSQL(REFUSE, ALLOW),
    ]
