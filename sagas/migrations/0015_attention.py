from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0014_audit_trail"),
    ]

    operations = [
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("queue", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("asked_at", models.DateTimeField(blank=True, null=True)),
                ("alive_at", models.DateTimeField()),
            ],
        ),
        migrations.RemoveIndex(
            model_name="run",
            name="sagas_run_needs_attention",
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(
                condition=models.Q(("status", "open")), fields=["key"], name="sagas_finding_open_of_key"
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status__in", ("paused", "needs_attention"))),
                fields=["started_at"],
                name="sagas_run_stopped",
            ),
        ),
    ]
