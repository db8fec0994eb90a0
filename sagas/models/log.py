"""The event log: events, the followers that read it, and snapshots of the state of a subject."""

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from ..core.ids import new_id
from .locking import LockableQuerySet


class Event(models.Model):
    """The outbox and the event log in one table; written only inside a transaction, and changed only by the relay."""

    #: Order of writing; events commit out of this order.
    position = models.BigAutoField(primary_key=True)
    #: Its number in the log, 1, 2, 3 …, given by the relay; empty until then. Followers read in this order: it is the
    #: order of writing for the events of one key, and no event that commits late is missed.
    log_position = models.BigIntegerField(null=True, blank=True, editable=False)
    id = models.UUIDField(unique=True, default=new_id, editable=False)
    type = models.CharField(max_length=100)
    version = models.PositiveSmallIntegerField(default=1)
    #: The subject: its kind, its id, and the number of the event among the events of the subject, 1, 2, 3 …
    aggregate = models.CharField(max_length=50)
    subject = models.CharField(max_length=100)
    sequence = models.PositiveIntegerField()
    #: Events of the same key stay in order; by default the key is the subject.
    key = models.CharField(max_length=100)
    #: The payload: an object with the fields of the event's class, in the shape of `version`.
    data = models.JSONField()
    correlation_id = models.UUIDField()
    causation_id = models.UUIDField(null=True, blank=True)
    traceparent = models.CharField(max_length=55, blank=True, default="")
    #: Interactive work goes before the work of this event, such as that of an import.
    low_priority = models.BooleanField(default=False, db_default=False)
    occurred_at = models.DateTimeField()
    relayed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["aggregate", "subject", "sequence"], name="sagas_event_one_per_sequence"),
            models.UniqueConstraint(fields=["log_position"], name="sagas_event_one_per_log_position"),
        ]
        indexes = [
            # In the order in which the relay takes them.
            models.Index(
                fields=["low_priority", "position"], name="sagas_event_to_number", condition=models.Q(log_position=None)
            ),
            models.Index(fields=["key", "position"], name="sagas_event_of_key"),
            # BRIN index for ranges of time: a few pages, however long the log is.
            BrinIndex(fields=["occurred_at"], name="sagas_event_time", autosummarize=True),
        ]

    objects: ClassVar[models.Manager["Event"]] = LockableQuerySet["Event"].as_manager()

    def __str__(self) -> str:
        return f"{self.type} #{self.position}"


class Follower(models.Model):
    """A subscription or a read model, and its position in the event log."""

    #: Name of the subscription or of the read model.
    name = models.CharField(primary_key=True, max_length=100)
    #: Position in the log up to which every event has a delivery for the subscription, or is applied by the read model.
    position = models.BigIntegerField()
    began_at = models.DateTimeField()
    #: Error of a read model at the next event; empty if it did not stop.
    error = models.TextField(blank=True, default="", db_default="")
    #: Since when it is paused; while set, the position does not change and no delivery is made.
    paused_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Follower"]] = LockableQuerySet["Follower"].as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def status(self) -> str:
        return "following" if self.paused_at is None else "paused"


class Snapshot(models.Model):
    """The state of a subject at one of its events: a cache, which may be deleted at any time."""

    #: Name and fingerprint of the fold; with another fingerprint the snapshot does not count.
    fold = models.CharField(max_length=100)
    fingerprint = models.CharField(max_length=16)
    aggregate = models.CharField(max_length=50)
    subject = models.CharField(max_length=100)
    #: Of the last event in it.
    sequence = models.PositiveIntegerField()
    #: The fold's state as an object: `State.model_dump_json`, units as in its fields.
    state = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["fold", "aggregate", "subject"], name="sagas_one_snapshot_per_subject"),
        ]

    objects: ClassVar[models.Manager["Snapshot"]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.fold} of {self.aggregate} {self.subject} at event {self.sequence}"
