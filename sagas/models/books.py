"""The reconciliation: findings, and its positions."""

from typing import ClassVar

from django.db import models

from ..core.statuses import FindingStatus, choices
from .locking import LockableQuerySet


class Finding(models.Model):
    """A breach of what should be true of the books: a row for a person, until it is true again.

    A finding *stands* while `cleared_at` is empty. A dismissed one stands too, so that it does not become a new finding
    in each turn.
    """

    #: Not `check`: every model has a method of that name.
    check_name = models.CharField("check", max_length=100)
    #: The key that is out of balance, chosen by the check: the key of a run, the name of an event type.
    key = models.CharField(max_length=254)
    status = models.CharField(max_length=10, choices=choices(FindingStatus), default=FindingStatus.OPEN)
    #: A sentence for people.
    message = models.TextField()
    #: An object: the figures of both sides and ids, by names that the check chooses (`{"room": "12", "booked": 3,
    #: "held": 2}`; `_at` for moments as ISO texts). It joins `Breach.facts`, which say what breach it is, and
    #: `Breach.moving`, which may change meanwhile.
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
            models.Index(fields=["key"], name="sagas_finding_open_of_key", condition=models.Q(status="open")),
            models.Index(fields=["id"], name="sagas_finding_stands", condition=models.Q(cleared_at=None)),
        ]

    objects: ClassVar[models.Manager["Finding"]] = LockableQuerySet["Finding"].as_manager()

    def __str__(self) -> str:
        return self.message


class Reconciliation(models.Model):
    """The positions of the reconciliation: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    #: Increases with each turn. A turn that began with an older number writes nothing.
    turn = models.PositiveBigIntegerField(default=0)
    turned_at = models.DateTimeField()
    #: `Event.position` up to which keys were checked as they came, and up to which they had the second check.
    #: Their columns keep the names that workers of the code before use.
    checked_position = models.PositiveBigIntegerField(default=0, db_column="looked_at")
    rechecked_position = models.PositiveBigIntegerField(default=0, db_column="looked_again_at")
    #: By name of the walk, the mark from which it continues (`{"all trips": "01a2133d-…"}`), as `Walk.step` returned
    #: it; with an empty text the walk begins anew.
    walks = models.JSONField(default=dict)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="sagas_one_reconciliation")]

    def __str__(self) -> str:
        return f"turn {self.turn}"
