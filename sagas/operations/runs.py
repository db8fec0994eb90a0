"""Runs as subjects: actions on a run that stopped, waits for its next try, or is under way."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce

from ..core import registry
from ..core.key_names import KeyLabel
from ..core.statuses import OPEN_RUNS, STOPPED_RUNS, Action, RunStatus
from ..engine.journal import save
from ..engine.rules import is_to_undo
from ..engine.undo import undo_runs
from ..engine.wake_ups import wake_ups_of
from ..models import Attempt, Intervention, Run, StepRun
from . import queries
from .run_operations import OPERATIONS
from .subject import STOPPED, Filter, Messages, Subject
from .summary import Summary


class RunSubject(Subject[Run]):
    """A run, and its current step.

    Attributes:
        step: None once the run is over.
        failed: the last failed try of the step.
        starts_undo: if true, `save` starts its undo.
    """

    kind = "run"
    plural = "Runs"
    model = Run
    operations = OPERATIONS
    read = ("key", "epoch", "place", "status")
    tag = "stopped"
    option = ""
    listing = "list"

    def __init__(
        self, row: Run, step: StepRun | None = None, failed: Attempt | None = None, unanswered: int = 0
    ) -> None:
        super().__init__(row)
        self.step, self.failed, self.unanswered = step, failed, unanswered
        self.starts_undo = False

    # One ----------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        return self.row.status

    @property
    def version_token(self) -> str:
        return f"{self.row.epoch}:{self.row.place}:{self.row.status}"

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def applied_to(self) -> str:
        return "" if self.step is None else self.step.name

    @property
    def standing(self) -> str:
        if is_to_undo(self.row):
            return "is about to be undone"
        return "needs attention" if self.status == RunStatus.NEEDS_ATTENTION else super().standing

    def result_example(self) -> Any:
        """Return the step's result in one of the saga's newest runs."""
        newest = Run.objects.filter(saga=self.row.saga).order_by("-pk").values_list("results", flat=True)[:50]
        return next((results[self.applied_to] for results in newest if results.get(self.applied_to)), None)

    def refusal(self, action: Action) -> str:
        at = f" at {self.step.name}" if self.step is not None else ""
        return f"{action} does not apply: the run {self.standing}{at}."

    def summary(self, named: KeyLabel | None, *, now: datetime) -> Summary:
        run, failed = self.row, self.failed
        said = {"kind": failed.kind, "error": failed.error, "message": failed.message} if failed is not None else {}
        why: Mapping[str, Any] = run.attention or run.failure or said
        return Summary(
            kind=self.kind,
            pk=str(run.pk),
            process=run.saga,
            status=run.status,
            step=why.get("step") or self.applied_to,
            error=why.get("error", ""),
            error_kind=why.get("kind", ""),
            message=why.get("message", ""),
            tries=0 if self.step is None else self.step.attempts,
            unanswered=self.unanswered,
            since=run.stopped_at or run.started_at,
            key=run.key,
            named=named,
            version_token=self.version_token,
            actions=tuple(self.possible(now=now)),
        )

    def wake(self, now: datetime) -> None:
        """Continue a stopped run; the time it was stopped does not count towards its deadline."""
        run = self.row
        if run.status in STOPPED_RUNS:
            run.status = run.direction
            if run.deadline_at is not None and run.stopped_at is not None:
                run.deadline_at += now - run.stopped_at
            run.resumes_as, run.stopped_at = "", None
        run.resends, run.due_at = 0, now

    # The kind and its sets ------------------------------------------------------------------------------------------

    @classmethod
    def find(cls, text: str) -> Run | None:
        """Return the run of a key, of the label of a key, or of an id; of several the open one, else the newest."""
        key = registry.key_of(text) or text
        runs = list(Run.objects.filter(key=key).order_by("-id")[:50])
        found = next((run for run in runs if run.status in OPEN_RUNS), None) or next(iter(runs), None)
        return found or super().find(text)

    @classmethod
    def load(cls, rows: Sequence[Run]) -> list[Self]:
        here = {row.run_id: row for row in StepRun.objects.filter(run__in=rows, place=F("run__place"))}
        tries = Attempt.objects.filter(step__in=here.values()).defer("traceback")
        last = {attempt.step_id: attempt for attempt in tries.order_by("step", "-pk").distinct("step")}
        unanswered = queries.unanswered(list(here.values()), ())
        steps = [here.get(row.pk) for row in rows]
        return [
            cls(row, step, None if step is None else last.get(step.pk), unanswered.get(row.pk, 0))
            for row, step in zip(rows, steps, strict=True)
        ]

    @classmethod
    def meant(cls, meant: Filter) -> QuerySet[Run]:
        """Return the open runs that match: a run that has ended cannot be changed."""
        if meant.kind not in ("", cls.kind):
            return Run.objects.none()
        found = Run.objects.filter(status__in=STOPPED_RUNS if meant.status == STOPPED else OPEN_RUNS)
        found = found.filter(status=meant.status) if meant.status not in ("", STOPPED) else found
        here = StepRun.objects.filter(run=OuterRef("pk"), place=OuterRef("place"))
        if meant.step:
            found = found.filter(Q(attention__step=meant.step) | Exists(here.filter(name=meant.step)))
        if meant.error:
            failed = Attempt.objects.filter(step__run=OuterRef("pk"), step__place=OuterRef("place"), error=meant.error)
            found = found.filter(Q(attention__error=meant.error) | Q(attention=None) & Exists(failed))
        named = {"saga": meant.process, "key": meant.key}
        return found.filter(**{name: value for name, value in named.items() if value})

    @classmethod
    def reasons(cls) -> tuple[Any, Any, Any]:
        return F("saga"), KT("attention__step"), KT("attention__error")

    @classmethod
    def since(cls) -> Any:
        return Coalesce("stopped_at", "started_at")

    @classmethod
    def lock(cls, asked: Sequence[Intervention]) -> list[Self]:
        runs = {run.id: run for run in Run.objects.claimed().filter(id__in=[row.subject_id for row in asked])}
        rows = StepRun.objects.filter(run__in=runs)
        here = {row.run_id: row for row in rows if row.place == runs[row.run_id].place}
        return [cls(run, here.get(run.id)) for run in runs.values()]

    @classmethod
    def save(cls, changed: Sequence[Self], *, now: datetime) -> Messages:
        save([each.row for each in changed], [each.step for each in changed if each.step is not None])
        # A run whose saga this process does not know keeps its failure: a process that knows the saga starts its undo.
        to_undo = [each.row for each in changed if each.starts_undo]
        chains = undo_runs(to_undo, now=now) if to_undo else []
        chains += wake_ups_of([each.row for each in changed if not each.starts_undo])
        return Messages(wake_ups=chains)
