"""What customers are told."""

from django.db import migrations, models

import sagas.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Notification",
            fields=[
                (
                    "id",
                    models.UUIDField(default=sagas.core.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("order_id", models.UUIDField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("order_confirmed", "order confirmed"),
                            ("order_rejected", "order rejected"),
                            ("order_cancelled", "order cancelled"),
                        ],
                        max_length=30,
                    ),
                ),
                ("channel", models.CharField(choices=[("email", "Email")], default="email", max_length=10)),
                ("recipient", models.CharField(max_length=254)),
                ("context", models.JSONField()),
                (
                    "status",
                    models.CharField(choices=[("queued", "Queued"), ("sent", "Sent")], default="queued", max_length=10),
                ),
                ("queued_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "message",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("order_id", "kind", "channel"), name="notifications_one_per_order_kind_and_channel"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("sent_at__isnull", False), ("status", "sent")),
                            models.Q(("sent_at", None), ("status", "queued")),
                            _connector="OR",
                        ),
                        name="notifications_sent_when_sent",
                    ),
                ],
            },
        ),
    ]
