"""What people asked for, and what came of it."""

from typing import ClassVar

from django.db import models

from ..core.ids import new_id
from .delivery import Delivery
from .journal import Run
from .locking import LockableQuerySet
from .log import Follower


class Intervention(models.Model):
    """What a person asked for, with their reason, and what came of it: the audit of rule 7.

    Many that were asked for together share a batch; they are written first and worked off afterwards, so that a
    process that dies in between leaves the rest to another.
    """

    class Action(models.TextChoices):
        RETRY = "retry"
        SKIP = "skip"
        UNDO = "undo"
        CANCEL = "cancel"
        PAUSE = "pause"
        RESUME = "resume"
        REPLAY = "replay"

    class Status(models.TextChoices):
        PENDING = "pending"
        DONE = "done"
        REFUSED = "refused"

    batch = models.UUIDField(default=new_id)
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.CASCADE, related_name="interventions")
    delivery = models.ForeignKey(
        Delivery, null=True, blank=True, on_delete=models.CASCADE, related_name="interventions"
    )
    follower = models.ForeignKey(
        Follower, null=True, blank=True, on_delete=models.CASCADE, related_name="interventions"
    )
    action = models.CharField(max_length=10, choices=Action.choices)
    reason = models.TextField()
    #: Name of the user, or of who typed the command.
    by = models.CharField(max_length=150)
    #: Where its subject stood when the person looked at it; if it stands elsewhere now, nothing is done.
    seen = models.CharField(max_length=40)
    #: The step it was applied to.
    step = models.CharField(max_length=100, blank=True, default="")
    #: What a skipped step hands on.
    result = models.JSONField(null=True, blank=True)
    #: Which range of the log is owed once more, and how far that is.
    replay = models.JSONField(null=True, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    #: Why it was refused, or what a replay came to.
    outcome = models.TextField(blank=True, default="")
    asked_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(run__isnull=False, delivery=None, follower=None)
                | models.Q(run=None, delivery__isnull=False, follower=None)
                | models.Q(run=None, delivery=None, follower__isnull=False),
                name="sagas_intervention_has_one_subject",
            ),
            models.CheckConstraint(
                condition=models.Q(status="pending", done_at=None)
                | models.Q(status__in=["done", "refused"], done_at__isnull=False),
                name="sagas_intervention_done_when_done",
            ),
            models.UniqueConstraint(
                fields=["follower"],
                condition=models.Q(action="replay", status="pending"),
                name="sagas_one_replay_under_way_per_follower",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="sagas_intervention_pending", condition=models.Q(status="pending")),
            models.Index(fields=["batch"], name="sagas_intervention_of_batch"),
        ]

    objects: ClassVar[models.Manager["Intervention"]] = LockableQuerySet["Intervention"].as_manager()

    def __str__(self) -> str:
        return f"{self.action} by {self.by}"

    @property
    def subject(self) -> Run | Delivery | Follower:
        """What it is about; one of the three is set."""
        return next(each for each in (self.run, self.delivery, self.follower) if each is not None)
