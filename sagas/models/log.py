"""The event log: events, the followers that read it, snapshots of what events add up to."""

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from ..core.ids import new_id
from .locking import LockableQuerySet


class Event(models.Model):
    """The outbox and the event log in one; written only inside a transaction, never changed but by the relay."""

    #: Order of writing; events commit out of this order.
    position = models.BigAutoField(primary_key=True)
    #: The how-many-th event of the log, given by the relay; empty until then. Whoever follows the log reads it in this
    #: order, which is that of writing for the events of one key, and never misses one that commits late.
    log_position = models.BigIntegerField(null=True, blank=True, editable=False)
    id = models.UUIDField(unique=True, default=new_id, editable=False)
    type = models.CharField(max_length=100)
    version = models.PositiveSmallIntegerField(default=1)
    #: What it happened to: kind, id and the how-many-th event of that thing.
    aggregate = models.CharField(max_length=50)
    subject = models.CharField(max_length=100)
    sequence = models.PositiveIntegerField()
    #: What order is kept by: an order's id; the subject unless the event says otherwise.
    key = models.CharField(max_length=100)
    data = models.JSONField()
    correlation_id = models.UUIDField()
    causation_id = models.UUIDField(null=True, blank=True)
    traceparent = models.CharField(max_length=55, blank=True, default="")
    #: Nobody sits and waits for what it leads to: it yields to what somebody does wait for.
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
            # Finds a range of time; a few pages, whatever the log holds.
            BrinIndex(fields=["occurred_at"], name="sagas_event_time", autosummarize=True),
        ]

    objects: ClassVar[models.Manager["Event"]] = LockableQuerySet["Event"].as_manager()

    def __str__(self) -> str:
        return f"{self.type} #{self.position}"


class Follower(models.Model):
    """Who follows the event log, and how far it has come."""

    #: Of a subscription, or of a read model.
    name = models.CharField(primary_key=True, max_length=100)
    #: Position in the log up to which every event is owed to it, or is in it.
    position = models.BigIntegerField()
    began_at = models.DateTimeField()
    #: When a read model last took something in.
    moved_at = models.DateTimeField(null=True, blank=True)
    #: Why a read model stopped in front of the next event.
    error = models.TextField(blank=True, default="", db_default="")
    #: While it is set, the position stands still and nothing of what is owed is done.
    paused_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Follower"]] = LockableQuerySet["Follower"].as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def status(self) -> str:
        return "following" if self.paused_at is None else "paused"


class Snapshot(models.Model):
    """What a subject had become at one of its events: a cache, which may be deleted at any time."""

    #: Name of the fold, and its fingerprint: a snapshot that another fold made is none.
    fold = models.CharField(max_length=100)
    fingerprint = models.CharField(max_length=16)
    aggregate = models.CharField(max_length=50)
    subject = models.CharField(max_length=100)
    #: Of the last event in it.
    sequence = models.PositiveIntegerField()
    state = models.JSONField()
    taken_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["fold", "aggregate", "subject"], name="sagas_one_snapshot_per_subject"),
        ]

    objects: ClassVar[models.Manager["Snapshot"]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.fold} of {self.aggregate} {self.subject} at event {self.sequence}"
