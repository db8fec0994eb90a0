"""The journal (runs, steps, attempts), the event log, who follows it, and what is owed: the truth (rule 1)."""

from typing import Any, ClassVar, TypeVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Cast

from ..core.ids import new_id
from ..core.statuses import LIVE_RUNS, OPEN_RUNS, STOPPED_RUNS, DeliveryStatus, RunStatus, StepStatus

_Model = TypeVar("_Model", bound=models.Model)


class LockableQuerySet(models.QuerySet[_Model]):
    """Rows that several workers may want at once."""

    def claimed(self) -> "LockableQuerySet[_Model]":
        """Lock what nobody else holds, always in the order of the primary key."""
        return self.order_by("pk").select_for_update(no_key=True, skip_locked=True, of=("self",))

    def locked(self) -> "LockableQuerySet[_Model]":
        """Lock, waiting for whoever holds it, always in the order of the primary key."""
        return self.order_by("pk").select_for_update(no_key=True, of=("self",))


def choices(statuses: type[Any]) -> list[tuple[str, str]]:
    return [(status.value, status.value.replace("_", " ")) for status in statuses]


class Event(models.Model):
    """The outbox and the event log in one; written only inside a transaction, never changed but by the relay."""

    #: Order of writing; events commit out of this order.
    position = models.BigAutoField(primary_key=True)
    #: The how-many-th event of the log, given by the relay; empty until then. Whoever follows the log reads it in this
    #: order, which is that of writing for the events of one key, and never misses one that commits late.
    log_position = models.BigIntegerField(null=True, blank=True, editable=False)
    id = models.UUIDField(unique=True, default=new_id, editable=False)
    transaction_id = models.BigIntegerField(
        db_default=Cast(
            Cast(models.Func(function="pg_current_xact_id"), models.TextField()),
            models.BigIntegerField(),
        ),
        editable=False,
    )
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


class Run(models.Model):
    """One saga under way for one key."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    saga = models.CharField(max_length=100)
    definition_hash = models.CharField(max_length=16)
    key = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=choices(RunStatus), default=RunStatus.RUNNING)
    #: What a run that stands still (paused, or in front of a person) goes on as, and since when it stands still.
    resumes_as = models.CharField(max_length=20, blank=True, default="", db_default="", choices=choices(RunStatus))
    stopped_at = models.DateTimeField(null=True, blank=True)
    #: Goes up whenever the run changes direction; a message of an older epoch does nothing.
    epoch = models.PositiveIntegerField(default=1)
    #: The step that is next, or under way.
    place = models.PositiveSmallIntegerField(default=0)
    #: Where the plan it began with goes forward only; empty if it has no such step.
    pivot_place = models.PositiveSmallIntegerField(null=True, blank=True)
    #: What the event said that started it, and in which version of its contract.
    input = models.JSONField()
    input_version = models.PositiveSmallIntegerField(default=1, db_default=1)
    #: What each finished step handed on, by its name.
    results = models.JSONField(default=dict)
    #: Why it turned back: step, kind, error, message.
    failure = models.JSONField(null=True, blank=True)
    #: Why a person is needed, in the same form.
    attention = models.JSONField(null=True, blank=True)
    #: When the sweep looks after it; empty once nothing is left to do.
    due_at = models.DateTimeField(null=True, blank=True)
    #: How often the sweep has sent it again since it last got on.
    resends = models.PositiveSmallIntegerField(default=0)
    #: Empty once it no longer counts.
    deadline_at = models.DateTimeField(null=True, blank=True)
    event_id = models.UUIDField(help_text="The event that started it.")
    correlation_id = models.UUIDField()
    traceparent = models.CharField(max_length=55, blank=True, default="")
    #: As its event: nobody sits and waits for it.
    low_priority = models.BooleanField(default=False, db_default=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                # Not by status, though it says the same: the planner would take this index for one of live runs.
                fields=["saga", "key"],
                condition=models.Q(finished_at=None),
                name="sagas_one_open_run_per_saga_and_key",
            ),
            models.CheckConstraint(
                condition=models.Q(finished_at=None, status__in=OPEN_RUNS)
                | (models.Q(finished_at__isnull=False) & ~models.Q(status__in=OPEN_RUNS)),
                name="sagas_a_run_is_open_until_it_has_finished",
            ),
            models.UniqueConstraint(fields=["saga", "event_id"], name="sagas_one_run_per_saga_and_event"),
            models.CheckConstraint(
                condition=models.Q(status__in=[status.value for status in RunStatus]), name="sagas_run_status_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(due_at__isnull=False) | ~models.Q(status__in=LIVE_RUNS),
                name="sagas_a_live_run_is_looked_after",
            ),
            models.CheckConstraint(
                condition=models.Q(resumes_as__in=[status.value for status in LIVE_RUNS], stopped_at__isnull=False)
                | ~models.Q(status=RunStatus.PAUSED.value),
                name="sagas_a_paused_run_knows_how_it_goes_on",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="sagas_run_due", condition=models.Q(status__in=LIVE_RUNS)),
            models.Index(
                fields=["deadline_at"], name="sagas_run_deadline", condition=models.Q(status=RunStatus.RUNNING)
            ),
            models.Index(
                fields=["started_at"],
                name="sagas_run_stopped",
                condition=models.Q(status__in=STOPPED_RUNS),
            ),
            models.Index(fields=["key"], name="sagas_run_of_key"),
        ]

    objects: ClassVar[models.Manager["Run"]] = LockableQuerySet["Run"].as_manager()

    def __str__(self) -> str:
        return f"{self.saga} of {self.key}"

    @property
    def direction(self) -> RunStatus:
        """Forward or back: the status it has, or goes on with once it no longer stands still."""
        if self.status not in STOPPED_RUNS:
            return RunStatus(self.status)
        if self.resumes_as:
            return RunStatus(self.resumes_as)
        # Stopped by code that did not write it down.
        return RunStatus.RUNNING if self.failure is None else RunStatus.UNDOING


class StepRun(models.Model):
    """One step of one run; undo steps have rows of their own, behind the plan the run began with."""

    class Action(models.TextChoices):
        RUN = "run"
        UNDO = "undo"

    #: The unique constraint on run and place is its index, too.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps", db_index=False)
    place = models.PositiveSmallIntegerField()
    #: Where the run goes from here; empty at the end.
    next_place = models.PositiveSmallIntegerField(null=True, blank=True)
    #: Name of the row: the step's, or its undo's.
    name = models.CharField(max_length=100)
    #: Name of the step in the definition.
    step = models.CharField(max_length=100)
    action = models.CharField(max_length=4, choices=Action.choices, default=Action.RUN)
    status = models.CharField(max_length=10, choices=choices(StepStatus), default=StepStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    #: Tries begun again after the last one left no trace: its worker died, or its message was lost.
    lost_tries = models.PositiveSmallIntegerField(default=0)
    idempotency_key = models.CharField(max_length=150)
    #: Note [Lease token]: whoever calls outside holds a token; only the holder of the current one may write what
    #: came of it, so a worker that was frozen and woken up changes nothing.
    lease_token = models.UUIDField(null=True, blank=True)
    #: Nobody takes the step before: a call is under way until then, or the next try is not due.
    held_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "place"], name="sagas_one_step_per_place"),
            models.CheckConstraint(
                condition=models.Q(status__in=[status.value for status in StepStatus]),
                name="sagas_step_status_is_known",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Delivery(models.Model):
    """One event owed to one subscription: inbox, retry schedule and dead letter in one."""

    #: The unique constraint on event and subscription is its index, too.
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    subscription = models.CharField(max_length=100)
    key = models.CharField(max_length=100)
    #: As its event, or owed to a follower that catches up: nobody sits and waits for it.
    low_priority = models.BooleanField(default=False, db_default=False)
    status = models.CharField(max_length=10, choices=choices(DeliveryStatus), default=DeliveryStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    lost_tries = models.PositiveSmallIntegerField(
        default=0, help_text="Tries begun again after the last left no trace."
    )
    #: When the sweep looks after it.
    due_at = models.DateTimeField(null=True, blank=True)
    #: When the next try is due, after a failed one.
    retry_at = models.DateTimeField(null=True, blank=True)
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
            # The line of a key: who stands before whom.
            models.Index(
                fields=["subscription", "key", "event"],
                name="sagas_delivery_line",
                condition=~models.Q(status=DeliveryStatus.DONE),
            ),
            models.Index(fields=["id"], name="sagas_delivery_parked", condition=models.Q(status=DeliveryStatus.PARKED)),
        ]

    objects: ClassVar[models.Manager["Delivery"]] = LockableQuerySet["Delivery"].as_manager()

    def __str__(self) -> str:
        return f"{self.subscription} of event {self.event_id}"


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
    def subject(self) -> "Run | Delivery | Follower":
        """What it is about; one of the three is set."""
        return next(each for each in (self.run, self.delivery, self.follower) if each is not None)


class Finding(models.Model):
    """Something that should be true of the books and is not: a row for a person, until it is true again.

    It *stands* while `cleared_at` is empty. One that was dismissed stands too, so that it is not found anew each turn.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        CLEARED = "cleared"
        DISMISSED = "dismissed"

    #: Not `check`: every model has a method of that name.
    check_name = models.CharField("check", max_length=100)
    #: What is out of balance: an order's id, a SKU, an account, the name of an event type.
    key = models.CharField(max_length=254)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.OPEN)
    #: One sentence for people.
    message = models.TextField()
    #: The figures of both sides, and ids.
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
    """How far the reconciliation got: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    #: Goes up with each turn: who began from an older one throws its own away.
    turn = models.PositiveBigIntegerField(default=0)
    turned_at = models.DateTimeField()
    #: Positions in the event log.
    looked_at = models.PositiveBigIntegerField(default=0)
    looked_again_at = models.PositiveBigIntegerField(default=0)
    #: Where each walk stands, by its name.
    walks = models.JSONField(default=dict)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="sagas_one_reconciliation")]

    def __str__(self) -> str:
        return f"turn {self.turn}"


class Heartbeat(models.Model):
    """When a worker last served a queue."""

    queue = models.CharField(primary_key=True, max_length=100)
    #: When the question was sent that is not answered yet.
    asked_at = models.DateTimeField(null=True, blank=True)
    alive_at = models.DateTimeField()

    objects: ClassVar[models.Manager["Heartbeat"]] = models.Manager()

    def __str__(self) -> str:
        return self.queue


class AuditRecord(models.Model):
    """One change of a row that somebody may ask about, as the write-ahead log told it; only ever added to.

    A trigger refuses to change or delete records (migration 0014).
    """

    #: Where in the write-ahead log its transaction was committed, and the how-many-th change of that it is.
    lsn = models.BigIntegerField()
    number = models.PositiveIntegerField()
    #: The lower 32 bits of its id.
    transaction_id = models.BigIntegerField()
    committed_at = models.DateTimeField()
    table = models.CharField(max_length=100)
    #: Its primary key, and what people call it (a number, a SKU).
    row = models.CharField(max_length=255)
    name = models.CharField(max_length=255, blank=True)
    action = models.CharField(max_length=10)
    #: Values as text, by column; of a changed row, only those that changed.
    before = models.JSONField()
    after = models.JSONField()
    #: Types of the events its transaction emitted. None: it was made past the services that tell of what they do.
    events = models.JSONField()
    told = models.BooleanField()

    class Meta:
        verbose_name = "change"
        verbose_name_plural = "audit trail"
        constraints = [
            # With its moment: a database that was restored elsewhere counts its log anew.
            models.UniqueConstraint(fields=["committed_at", "lsn", "number"], name="sagas_audit_one_per_change"),
        ]
        indexes = [
            models.Index(fields=["table", "-id"], name="sagas_audit_of_table"),
            models.Index(fields=["row", "-id"], name="sagas_audit_of_row"),
            models.Index(fields=["name", "-id"], name="sagas_audit_of_name"),
            models.Index(fields=["-id"], name="sagas_audit_untold", condition=models.Q(told=False)),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.table} {self.name or self.row}"
