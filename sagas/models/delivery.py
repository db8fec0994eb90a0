"""Deliveries: events owed to subscriptions."""

from typing import Any, ClassVar

from django.db import models

from ..core.statuses import DeliveryStatus, choices
from .locking import LockableQuerySet
from .log import Event


class Delivery(models.Model):
    """One event owed to one subscription: inbox, retry schedule and dead letter in one."""

    #: The unique constraint on event and subscription is its index, too.
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    subscription = models.CharField(max_length=100)
    key = models.CharField(max_length=100)
    #: True if its event has low priority, or if its follower catches up: interactive work goes first.
    low_priority = models.BooleanField(default=False, db_default=False)
    status = models.CharField(max_length=10, choices=choices(DeliveryStatus), default=DeliveryStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    lost_tries = models.PositiveSmallIntegerField(
        default=0, help_text="Tries begun again after the last left no trace."
    )
    #: When the sweep sends it again, if it is not done by then; for one under way, the end of its lease.
    due_at = models.DateTimeField(null=True, blank=True)
    #: When the next try is due, after a failed one.
    retry_at = models.DateTimeField(null=True, blank=True)
    #: When its message was refused because its subscription's share of the workers was used up. Note [Share].
    refused_at = models.DateTimeField(null=True, blank=True)
    resends = models.PositiveSmallIntegerField(default=0)
    replays = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often it was owed once more after it was done."
    )
    lease_token = models.UUIDField(null=True, blank=True)
    error = models.TextField(blank=True, default="")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["event", "subscription"], name="sagas_one_delivery_per_subscription"),
            models.CheckConstraint(
                condition=models.Q(status__in=[status.value for status in DeliveryStatus]),
                name="sagas_delivery_status_is_known",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                name="sagas_delivery_due",
                condition=models.Q(status__in=[DeliveryStatus.PENDING, DeliveryStatus.RUNNING]),
            ),
            # The open deliveries of a subscription and key, in order.
            models.Index(
                fields=["subscription", "key", "event"],
                name="sagas_delivery_line",
                condition=~models.Q(status=DeliveryStatus.DONE),
            ),
            models.Index(
                fields=["subscription", "refused_at"],
                name="sagas_delivery_refused",
                condition=models.Q(refused_at__isnull=False),
            ),
            models.Index(fields=["id"], name="sagas_delivery_parked", condition=models.Q(status=DeliveryStatus.PARKED)),
        ]

    #: Interventions on it, oldest first; loaded by `queries.load_interventions`.
    interventions: list[Any]
    objects: ClassVar[models.Manager["Delivery"]] = LockableQuerySet["Delivery"].as_manager()

    def __str__(self) -> str:
        return f"{self.subscription} of event {self.event_id}"
