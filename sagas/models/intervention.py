"""Interventions: requests of people, and their outcomes."""

from typing import ClassVar

from django.db import models

from ..core.ids import new_id
from ..core.statuses import Action, InterventionStatus, choices
from .locking import LockableQuerySet


class Intervention(models.Model):
    """A person's request to change a subject, with its reason and its outcome.

    Requests that were made together share a batch. They are written first and executed afterwards, so that another
    process executes the rest when one dies.
    """

    #: The same for all requests that were made together; `manage.py sagas` and the page of the batch show its progress.
    batch = models.UUIDField(default=new_id)
    #: The subject: its kind, a name in `operations.subjects.KINDS`, and its primary key as text. No foreign key: a new
    #: kind of subject needs no column, and the audit outlives its subject.
    kind = models.CharField(max_length=20)
    subject_id = models.CharField(max_length=100)
    #: Key of the subject (of a run or a delivery); empty for a subject without a key.
    key = models.CharField(max_length=100, blank=True, default="")
    action = models.CharField(max_length=10, choices=choices(Action))
    #: Why, in the words of the person; never empty. Of an undo and a cancellation it becomes `Run.failure`'s message.
    reason = models.TextField()
    #: Name of the user, or of the account that typed the command.
    by = models.CharField(max_length=150)
    #: Version of the subject when the person looked at it (optimistic lock): if it has another version now, the request
    #: is refused.
    version_token = models.CharField(max_length=40)
    #: Name of the step or the subscription it was applied to; empty until it was done or refused.
    applied_to = models.CharField(max_length=100, blank=True, default="")
    #: The result of a skipped step, for later steps: a JSON object such as `{"booking_id": "01a2…"}`, or null.
    result = models.JSONField(null=True, blank=True)
    #: The terms and the progress of a replay; null for other actions:
    #: `since`, `until`: the range, moments in ISO 8601; `until` is not part of it.
    #: `position`: position in the log of the last replayed event; `end`: position of the last event of the range.
    #: `progressed`: number of events of the range up to `position`; `total`: number of events of the range.
    #: `owed`: number of events with a delivery that was written, or made pending again.
    replay = models.JSONField(null=True, blank=True)
    status = models.CharField(max_length=10, choices=choices(InterventionStatus), default=InterventionStatus.PENDING)
    #: Why it was refused, or the outcome of a replay.
    outcome = models.TextField(blank=True, default="")
    #: When it was made, and when it was executed or refused; empty until then.
    asked_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status="pending", done_at=None)
                | models.Q(status__in=["done", "refused"], done_at__isnull=False),
                name="sagas_intervention_done_when_done",
            ),
            models.UniqueConstraint(
                fields=["kind", "subject_id"],
                condition=models.Q(action="replay", status="pending"),
                name="sagas_one_replay_under_way_per_subject",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="sagas_intervention_pending", condition=models.Q(status="pending")),
            models.Index(fields=["batch"], name="sagas_intervention_of_batch"),
            models.Index(fields=["subject_id"], name="sagas_intervention_of_subject"),
            models.Index(fields=["key"], name="sagas_intervention_of_key"),
        ]

    objects: ClassVar[models.Manager["Intervention"]] = LockableQuerySet["Intervention"].as_manager()

    def __str__(self) -> str:
        return f"{self.action} by {self.by}"
