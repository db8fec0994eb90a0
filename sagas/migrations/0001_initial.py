"""The tables of the engine."""

import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

import sagas.core.ids
import sagas.core.statuses

#: Runs and steps are updated often: half of each page stays free for new versions, which then need no new entries in
#: the indexes (heap-only tuples).
_ROOM = "ALTER TABLE sagas_run SET (fillfactor = 50); ALTER TABLE sagas_steprun SET (fillfactor = 50);"
#: Records are only added. Old ones may be deleted after `SET sagas.forget = 'on'` (docs/cdc.md).
_AUDIT_IS_APPEND_ONLY = """
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
_DROP_TRIGGER = """
    DROP TRIGGER sagas_audit_is_only_added_to ON sagas_auditrecord;
    DROP FUNCTION sagas_audit_is_only_added_to();
    """


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Follower",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("position", models.BigIntegerField()),
                ("began_at", models.DateTimeField()),
                ("moved_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.TextField(blank=True, db_default="", default="")),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("queue", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("asked_at", models.DateTimeField(blank=True, null=True)),
                ("alive_at", models.DateTimeField()),
            ],
        ),
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
                ("by", models.CharField(blank=True, db_default="", default="", max_length=150)),
                ("log_entry", models.BigIntegerField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "change",
                "verbose_name_plural": "audit trail",
                "indexes": [
                    models.Index(fields=["table", "-id"], name="sagas_audit_of_table"),
                    models.Index(fields=["row", "-id"], name="sagas_audit_of_row"),
                    models.Index(fields=["name", "-id"], name="sagas_audit_of_name"),
                    models.Index(
                        condition=models.Q(("by", ""), _negated=True), fields=["by", "-id"], name="sagas_audit_by"
                    ),
                    models.Index(condition=models.Q(("told", False)), fields=["-id"], name="sagas_audit_untold"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("committed_at", "lsn", "number"), name="sagas_audit_one_per_change")
                ],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("position", models.BigAutoField(primary_key=True, serialize=False)),
                ("log_position", models.BigIntegerField(blank=True, editable=False, null=True)),
                ("id", models.UUIDField(default=sagas.core.ids.new_id, editable=False, unique=True)),
                ("type", models.CharField(max_length=100)),
                ("version", models.PositiveSmallIntegerField(default=1)),
                ("aggregate", models.CharField(max_length=50)),
                ("subject", models.CharField(max_length=100)),
                ("sequence", models.PositiveIntegerField()),
                ("key", models.CharField(max_length=100)),
                ("data", models.JSONField()),
                ("correlation_id", models.UUIDField()),
                ("causation_id", models.UUIDField(blank=True, null=True)),
                ("traceparent", models.CharField(blank=True, default="", max_length=55)),
                ("low_priority", models.BooleanField(db_default=False, default=False)),
                ("occurred_at", models.DateTimeField()),
                ("relayed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("log_position", None)),
                        fields=["low_priority", "position"],
                        name="sagas_event_to_number",
                    ),
                    models.Index(fields=["key", "position"], name="sagas_event_of_key"),
                    django.contrib.postgres.indexes.BrinIndex(
                        autosummarize=True, fields=["occurred_at"], name="sagas_event_time"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("aggregate", "subject", "sequence"), name="sagas_event_one_per_sequence"
                    ),
                    models.UniqueConstraint(fields=("log_position",), name="sagas_event_one_per_log_position"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("subscription", models.CharField(max_length=100)),
                ("key", models.CharField(max_length=100)),
                ("low_priority", models.BooleanField(db_default=False, default=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("running", "running"),
                            ("done", "done"),
                            ("parked", "parked"),
                            ("failed", "failed"),
                            ("skipped", "skipped"),
                        ],
                        default=sagas.core.statuses.DeliveryStatus["PENDING"],
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                (
                    "lost_tries",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="Tries begun again after the last left no trace."
                    ),
                ),
                ("due_at", models.DateTimeField(blank=True, null=True)),
                ("retry_at", models.DateTimeField(blank=True, null=True)),
                ("refused_at", models.DateTimeField(blank=True, null=True)),
                ("resends", models.PositiveSmallIntegerField(default=0)),
                (
                    "replays",
                    models.PositiveSmallIntegerField(
                        db_default=0, default=0, help_text="How often it was owed once more after it was done."
                    ),
                ),
                ("lease_token", models.UUIDField(blank=True, null=True)),
                ("error", models.TextField(blank=True, default="")),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "event",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="sagas.event",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
            },
        ),
        migrations.CreateModel(
            name="Finding",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("check_name", models.CharField(max_length=100, verbose_name="check")),
                ("key", models.CharField(max_length=254)),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "open"), ("cleared", "cleared"), ("dismissed", "dismissed")],
                        default=sagas.core.statuses.FindingStatus["OPEN"],
                        max_length=10,
                    ),
                ),
                ("message", models.TextField()),
                ("facts", models.JSONField()),
                ("found_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("cleared_at", models.DateTimeField(blank=True, null=True)),
                ("dismissed_at", models.DateTimeField(blank=True, null=True)),
                ("dismissed_by", models.CharField(blank=True, default="", max_length=150)),
                ("dismissed_reason", models.CharField(blank=True, default="", max_length=500, verbose_name="reason")),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("status", "open")), fields=["id"], name="sagas_finding_open"),
                    models.Index(
                        condition=models.Q(("status", "open")), fields=["key"], name="sagas_finding_open_of_key"
                    ),
                    models.Index(condition=models.Q(("cleared_at", None)), fields=["id"], name="sagas_finding_stands"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("cleared_at", None)),
                        fields=("check_name", "key"),
                        name="sagas_one_standing_finding_per_check_and_key",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cleared_at", None), ("status", "open")),
                            models.Q(("cleared_at__isnull", False), ("status", "cleared")),
                            models.Q(
                                ("dismissed_at__isnull", False),
                                ("status", "dismissed"),
                                models.Q(("dismissed_reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="sagas_finding_is_open_cleared_or_dismissed_with_a_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Intervention",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("batch", models.UUIDField(default=sagas.core.ids.new_id)),
                ("kind", models.CharField(max_length=20)),
                ("subject_id", models.CharField(max_length=100)),
                ("key", models.CharField(blank=True, default="", max_length=100)),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("retry", "retry"),
                            ("skip", "skip"),
                            ("undo", "undo"),
                            ("cancel", "cancel"),
                            ("pause", "pause"),
                            ("resume", "resume"),
                            ("replay", "replay"),
                        ],
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField()),
                ("by", models.CharField(max_length=150)),
                ("version_token", models.CharField(max_length=40)),
                ("applied_to", models.CharField(blank=True, default="", max_length=100)),
                ("result", models.JSONField(blank=True, null=True)),
                ("replay", models.JSONField(blank=True, null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "pending"), ("done", "done"), ("refused", "refused")],
                        default=sagas.core.statuses.InterventionStatus["PENDING"],
                        max_length=10,
                    ),
                ),
                ("outcome", models.TextField(blank=True, default="")),
                ("asked_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")), fields=["id"], name="sagas_intervention_pending"
                    ),
                    models.Index(fields=["batch"], name="sagas_intervention_of_batch"),
                    models.Index(fields=["subject_id"], name="sagas_intervention_of_subject"),
                    models.Index(fields=["key"], name="sagas_intervention_of_key"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("done_at", None), ("status", "pending")),
                            models.Q(("done_at__isnull", False), ("status__in", ["done", "refused"])),
                            _connector="OR",
                        ),
                        name="sagas_intervention_done_when_done",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("action", "replay"), ("status", "pending")),
                        fields=("kind", "subject_id"),
                        name="sagas_one_replay_under_way_per_subject",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Reconciliation",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("turn", models.PositiveBigIntegerField(default=0)),
                ("turned_at", models.DateTimeField()),
                ("looked_at", models.PositiveBigIntegerField(default=0)),
                ("looked_again_at", models.PositiveBigIntegerField(default=0)),
                ("walks", models.JSONField(default=dict)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="sagas_one_reconciliation")],
            },
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.UUIDField(default=sagas.core.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("saga", models.CharField(max_length=100)),
                ("definition_hash", models.CharField(max_length=16)),
                ("key", models.CharField(max_length=100)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("paused", "paused"),
                            ("undoing", "undoing"),
                            ("completed", "completed"),
                            ("undone", "undone"),
                            ("needs_attention", "needs attention"),
                        ],
                        default=sagas.core.statuses.RunStatus["RUNNING"],
                        max_length=20,
                    ),
                ),
                (
                    "resumes_as",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("running", "running"),
                            ("paused", "paused"),
                            ("undoing", "undoing"),
                            ("completed", "completed"),
                            ("undone", "undone"),
                            ("needs_attention", "needs attention"),
                        ],
                        db_default="",
                        default="",
                        max_length=20,
                    ),
                ),
                ("stopped_at", models.DateTimeField(blank=True, null=True)),
                ("epoch", models.PositiveIntegerField(default=1)),
                ("place", models.PositiveSmallIntegerField(default=0)),
                ("pivot_place", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("input", models.JSONField()),
                ("input_version", models.PositiveSmallIntegerField(db_default=1, default=1)),
                ("results", models.JSONField(default=dict)),
                ("failure", models.JSONField(blank=True, null=True)),
                ("attention", models.JSONField(blank=True, null=True)),
                ("due_at", models.DateTimeField(blank=True, null=True)),
                ("resends", models.PositiveSmallIntegerField(default=0)),
                ("deadline_at", models.DateTimeField(blank=True, null=True)),
                ("event_id", models.UUIDField(help_text="The event that started it.")),
                ("correlation_id", models.UUIDField()),
                ("traceparent", models.CharField(blank=True, default="", max_length=55)),
                ("low_priority", models.BooleanField(db_default=False, default=False)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(
                            (
                                "status__in",
                                (sagas.core.statuses.RunStatus["RUNNING"], sagas.core.statuses.RunStatus["UNDOING"]),
                            )
                        ),
                        fields=["due_at"],
                        name="sagas_run_due",
                    ),
                    models.Index(
                        condition=models.Q(("status", sagas.core.statuses.RunStatus["RUNNING"])),
                        fields=["deadline_at"],
                        name="sagas_run_deadline",
                    ),
                    models.Index(
                        condition=models.Q(
                            (
                                "status__in",
                                (
                                    sagas.core.statuses.RunStatus["PAUSED"],
                                    sagas.core.statuses.RunStatus["NEEDS_ATTENTION"],
                                ),
                            )
                        ),
                        fields=["started_at"],
                        name="sagas_run_stopped",
                    ),
                    models.Index(fields=["key"], name="sagas_run_of_key"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("finished_at", None)),
                        fields=("saga", "key"),
                        name="sagas_one_open_run_per_saga_and_key",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("finished_at", None),
                                (
                                    "status__in",
                                    (
                                        sagas.core.statuses.RunStatus["RUNNING"],
                                        sagas.core.statuses.RunStatus["UNDOING"],
                                        sagas.core.statuses.RunStatus["PAUSED"],
                                        sagas.core.statuses.RunStatus["NEEDS_ATTENTION"],
                                    ),
                                ),
                            ),
                            models.Q(
                                ("finished_at__isnull", False),
                                models.Q(
                                    (
                                        "status__in",
                                        (
                                            sagas.core.statuses.RunStatus["RUNNING"],
                                            sagas.core.statuses.RunStatus["UNDOING"],
                                            sagas.core.statuses.RunStatus["PAUSED"],
                                            sagas.core.statuses.RunStatus["NEEDS_ATTENTION"],
                                        ),
                                    ),
                                    _negated=True,
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="sagas_a_run_is_open_until_it_has_finished",
                    ),
                    models.UniqueConstraint(fields=("saga", "event_id"), name="sagas_one_run_per_saga_and_event"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["running", "paused", "undoing", "completed", "undone", "needs_attention"])
                        ),
                        name="sagas_run_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("due_at__isnull", False),
                            models.Q(
                                (
                                    "status__in",
                                    (
                                        sagas.core.statuses.RunStatus["RUNNING"],
                                        sagas.core.statuses.RunStatus["UNDOING"],
                                    ),
                                ),
                                _negated=True,
                            ),
                            _connector="OR",
                        ),
                        name="sagas_a_live_run_is_looked_after",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resumes_as__in", ["running", "undoing"]), ("stopped_at__isnull", False)),
                            models.Q(
                                (
                                    "status__in",
                                    (
                                        sagas.core.statuses.RunStatus["PAUSED"],
                                        sagas.core.statuses.RunStatus["NEEDS_ATTENTION"],
                                    ),
                                ),
                                _negated=True,
                            ),
                            _connector="OR",
                        ),
                        name="sagas_a_stopped_run_knows_how_it_goes_on",
                    ),
                ],
            },
        ),
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
        migrations.CreateModel(
            name="StepRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("place", models.PositiveSmallIntegerField()),
                ("next_place", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("name", models.CharField(max_length=100)),
                ("step", models.CharField(max_length=100)),
                ("action", models.CharField(choices=[("run", "Run"), ("undo", "Undo")], default="run", max_length=4)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("running", "running"),
                            ("unknown", "unknown"),
                            ("done", "done"),
                            ("failed", "failed"),
                            ("undoing", "undoing"),
                            ("undone", "undone"),
                            ("skipped", "skipped"),
                        ],
                        default=sagas.core.statuses.StepStatus["PENDING"],
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("lost_tries", models.PositiveSmallIntegerField(default=0)),
                ("idempotency_key", models.CharField(max_length=150)),
                ("lease_token", models.UUIDField(blank=True, null=True)),
                ("held_until", models.DateTimeField(blank=True, null=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="sagas.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveSmallIntegerField()),
                ("kind", models.CharField(max_length=10)),
                ("error", models.CharField(max_length=200)),
                ("message", models.TextField(blank=True)),
                ("traceback", models.TextField(blank=True)),
                ("started_at", models.DateTimeField()),
                ("failed_at", models.DateTimeField()),
                ("retry_at", models.DateTimeField(blank=True, null=True)),
                (
                    "delivery",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tries",
                        to="sagas.delivery",
                    ),
                ),
                (
                    "step",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tries",
                        to="sagas.steprun",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(
                    (
                        "status__in",
                        [sagas.core.statuses.DeliveryStatus["PENDING"], sagas.core.statuses.DeliveryStatus["RUNNING"]],
                    )
                ),
                fields=["due_at"],
                name="sagas_delivery_due",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status", sagas.core.statuses.DeliveryStatus["DONE"]), _negated=True),
                fields=["subscription", "key", "event"],
                name="sagas_delivery_line",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("refused_at__isnull", False)),
                fields=["subscription", "refused_at"],
                name="sagas_delivery_refused",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status", sagas.core.statuses.DeliveryStatus["PARKED"])),
                fields=["id"],
                name="sagas_delivery_parked",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(
                fields=("event", "subscription"), name="sagas_one_delivery_per_subscription"
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "running", "done", "parked", "failed", "skipped"])),
                name="sagas_delivery_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="steprun",
            constraint=models.UniqueConstraint(fields=("run", "place"), name="sagas_one_step_per_place"),
        ),
        migrations.AddConstraint(
            model_name="steprun",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["pending", "running", "unknown", "done", "failed", "undoing", "undone", "skipped"])
                ),
                name="sagas_step_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("delivery__isnull", False), ("step", None)),
                    models.Q(("delivery", None), ("step__isnull", False)),
                    _connector="OR",
                ),
                name="sagas_attempt_of_a_step_or_a_delivery",
            ),
        ),
        migrations.RunSQL(_ROOM, migrations.RunSQL.noop),
        migrations.RunSQL(_AUDIT_IS_APPEND_ONLY, _DROP_TRIGGER),
    ]
