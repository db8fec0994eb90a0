"""Failed tries of steps and deliveries."""

from django.db import models

from .delivery import Delivery
from .journal import StepRun


class Attempt(models.Model):
    """One failed try of a step or a delivery; success needs no row of its own."""

    step = models.ForeignKey(StepRun, null=True, blank=True, on_delete=models.CASCADE, related_name="tries")
    delivery = models.ForeignKey(Delivery, null=True, blank=True, on_delete=models.CASCADE, related_name="tries")
    number = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10)
    error = models.CharField(max_length=200)
    message = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    started_at = models.DateTimeField()
    failed_at = models.DateTimeField()
    #: When the next try is due; empty if this was the last.
    retry_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(step=None, delivery__isnull=False) | models.Q(step__isnull=False, delivery=None),
                name="sagas_attempt_of_a_step_or_a_delivery",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.error}: {self.message}"
