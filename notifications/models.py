"""Messages to customers."""

from django.db import models

from sagas.core.ids import new_id

from .events import NotificationKind


class Notification(models.Model):
    """One message to one person over one channel."""

    class Channel(models.TextChoices):
        EMAIL = "email"

    class Status(models.TextChoices):
        QUEUED = "queued"
        SENT = "sent"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    order_id = models.UUIDField()
    kind = models.CharField(
        max_length=30, choices=[(kind.value, kind.value.replace("_", " ")) for kind in NotificationKind]
    )
    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.EMAIL)
    recipient = models.CharField(max_length=254)
    #: The variables of the templates, a JSON object of texts for people:
    #: `number`: of the order; `name`: of the customer; `total`: an amount with its currency, `£12.50`;
    #: `lines`: a list of `{"name": "Mug", "quantity": 2, "total": "£12.50"}`, `quantity` an integer;
    #: `tracking_number`: of a confirmed order;
    #: `reason`: why it was rejected or cancelled; beside it `refunded`, an amount that was paid back, or `kept`, an
    #: amount that was not, because a person skipped the refund.
    context = models.JSONField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    queued_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "message"
        constraints = [
            models.UniqueConstraint(
                fields=["order_id", "kind", "channel"], name="notifications_one_per_order_kind_and_channel"
            ),
            models.CheckConstraint(
                condition=models.Q(status="sent", sent_at__isnull=False) | models.Q(status="queued", sent_at=None),
                name="notifications_sent_when_sent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} to {self.recipient}"
