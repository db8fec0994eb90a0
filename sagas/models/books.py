"""The reconciliation: findings, and how far it got."""

from typing import ClassVar

from django.db import models

from ..core.statuses import FindingStatus, choices
from .locking import LockableQuerySet


class Finding(models.Model):
    """Something that should be true of the books and is not: a row for a person, until it is true again.

    It *stands* while `cleared_at` is empty. One that was dismissed stands too, so that it is not found anew each turn.
    """

    #: Not `check`: every model has a method of that name.
    check_name = models.CharField("check", max_length=100)
    #: What is out of balance, as its check names it: the key of a run, the name of an event type.
    key = models.CharField(max_length=254)
    status = models.CharField(max_length=10, choices=choices(FindingStatus), default=FindingStatus.OPEN)
    #: One sentence for people.
    message = models.TextField()
    #: By name, as its check gives them (`Breach.facts` and `Breach.moving`): the figures of both sides, amounts as
    #: `..._minor` in minor units beside one `currency`, ids as text, counts, moments in ISO 8601.
    facts = models.JSONField()
    found_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True, blank=True)
    dismissed_at = models.DateTimeField(null=True, blank=True)
    dismissed_by = models.CharField(max_length=150, blank=True, default="")
    dismissed_reason = models.CharField("reason", max_length=500, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["check_name", "key"],
                condition=models.Q(cleared_at=None),
                name="sagas_one_standing_finding_per_check_and_key",
            ),
            models.CheckConstraint(
                condition=models.Q(status="open", cleared_at=None)
                | models.Q(status="cleared", cleared_at__isnull=False)
                | models.Q(status="dismissed", dismissed_at__isnull=False) & ~models.Q(dismissed_reason=""),
                name="sagas_finding_is_open_cleared_or_dismissed_with_a_reason",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="sagas_finding_open", condition=models.Q(status="open")),
            models.Index(fields=["id"], name="sagas_finding_stands", condition=models.Q(cleared_at=None)),
        ]

    objects: ClassVar[models.Manager["Finding"]] = LockableQuerySet["Finding"].as_manager()

    def __str__(self) -> str:
        return self.message


class Reconciliation(models.Model):
    """How far the reconciliation got: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    #: Goes up with each turn: who began from an older one throws its own away.
    turn = models.PositiveBigIntegerField(default=0)
    turned_at = models.DateTimeField()
    #: Positions in the event log.
    looked_at = models.PositiveBigIntegerField(default=0)
    looked_again_at = models.PositiveBigIntegerField(default=0)
    #: By the name of a walk: the mark behind which it goes on, "" for the beginning (`Walk.step`).
    walks = models.JSONField(default=dict)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="sagas_one_reconciliation")]

    def __str__(self) -> str:
        return f"turn {self.turn}"
