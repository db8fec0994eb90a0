"""The journal: the plan of each run, its progress, and its results."""

from typing import Any, ClassVar

from django.db import models

from ..core.ids import new_id
from ..core.statuses import LIVE_RUNS, OPEN_RUNS, STOPPED_RUNS, RowAction, RunStatus, StepStatus, choices
from .locking import LockableQuerySet


class Run(models.Model):
    """One saga for one key: under way, or ended."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    saga = models.CharField(max_length=100)
    definition_hash = models.CharField(max_length=16)
    key = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=choices(RunStatus), default=RunStatus.RUNNING)
    #: The status with which a stopped run (paused, or needing attention) continues, and the time since which it is
    #: stopped.
    resumes_as = models.CharField(max_length=20, blank=True, default="", db_default="", choices=choices(RunStatus))
    stopped_at = models.DateTimeField(null=True, blank=True)
    #: Increases whenever the run changes direction; a message of an older epoch does nothing.
    epoch = models.PositiveIntegerField(default=1)
    #: Place of the step that is next, or under way.
    place = models.PositiveSmallIntegerField(default=0)
    #: Place of the pivot in the plan it began with; empty if it has none.
    pivot_place = models.PositiveSmallIntegerField(null=True, blank=True)
    #: `data` of the event that started the run, as it was written (an object with the fields of the saga's input), and
    #: the version it was written in.
    input = models.JSONField()
    input_version = models.PositiveSmallIntegerField(default=1, db_default=1)
    #: By name of the row (a step or an undo), what it returned: `{"book-hotel": {"booking_id": "01a2…"}}`. A row
    #: that returned nothing, was left out or has not finished has no entry. Later steps read it as `call.results`.
    results = models.JSONField(default=dict)
    #: Why the run is undone, as `core.saga.Failure`: `{"step": its name, "kind": a FailureKind, "error": class of the
    #: exception, "message": its text}`. An empty `step` means the run as a whole, such as its deadline. None: nothing
    #: has failed.
    failure = models.JSONField(null=True, blank=True)
    #: Why a person is needed, in the same form as `failure`.
    attention = models.JSONField(null=True, blank=True)
    #: When the sweep sends it again, if it has made no progress by then; empty once nothing is left to do.
    due_at = models.DateTimeField(null=True, blank=True)
    #: How often the sweep has sent it again since its last progress.
    resends = models.PositiveSmallIntegerField(default=0)
    #: When the run is undone if it has not passed its pivot; empty without a deadline.
    deadline_at = models.DateTimeField(null=True, blank=True)
    event_id = models.UUIDField(help_text="The event that started it.")
    correlation_id = models.UUIDField()
    traceparent = models.CharField(max_length=55, blank=True, default="")
    #: Priority of its event: interactive work goes first.
    low_priority = models.BooleanField(default=False, db_default=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                # Not by status, although that selects the same rows: the planner would use this index for live runs.
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
                | ~models.Q(status__in=STOPPED_RUNS),
                name="sagas_a_stopped_run_knows_how_it_goes_on",
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

    #: Interventions on it, oldest first; loaded by `queries.load_interventions`.
    interventions: list[Any]
    objects: ClassVar[models.Manager["Run"]] = LockableQuerySet["Run"].as_manager()

    def __str__(self) -> str:
        return f"{self.saga} of {self.key}"

    @property
    def direction(self) -> RunStatus:
        """Forward or back: its status; for a stopped run, the status with which it continues."""
        if self.status not in STOPPED_RUNS:
            return RunStatus(self.status)
        return RunStatus(self.resumes_as)


class StepRun(models.Model):
    """One step of one run; undo steps have rows of their own, behind the plan the run began with."""

    #: The unique constraint on run and place is its index, too.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps", db_index=False)
    place = models.PositiveSmallIntegerField()
    #: Place of the next step; empty at the end.
    next_place = models.PositiveSmallIntegerField(null=True, blank=True)
    #: Name of the row: the step's, or its undo's.
    name = models.CharField(max_length=100)
    #: Name of the step in the definition.
    step = models.CharField(max_length=100)
    action = models.CharField(max_length=4, choices=choices(RowAction), default=RowAction.RUN)
    status = models.CharField(max_length=10, choices=choices(StepStatus), default=StepStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    #: Number of tries that began after the previous one left no trace: its worker died, or its message was lost.
    lost_tries = models.PositiveSmallIntegerField(default=0)
    idempotency_key = models.CharField(max_length=150)
    #: Note [Lease token]: a worker that calls outside holds a token. Only the holder of the current token may write
    #: the outcome of the call, so a worker that was frozen and wakes up changes nothing.
    lease_token = models.UUIDField(null=True, blank=True)
    #: No worker takes the step before: a call is under way until then, or the next try is not due.
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
