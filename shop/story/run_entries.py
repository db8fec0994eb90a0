"""The rows of a run, as entries of the timeline, each after its cause."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sagas.core import registry
from sagas.core.errors import DefinitionError, FailureKind, UnknownSagaError
from sagas.core.retry import Retry
from sagas.core.saga import Step
from sagas.core.statuses import LIVE_RUNS, Action, RowAction, RunStatus, StepStatus
from sagas.operations import queries as sagas
from sagas.operations.queries import Attempt, Intervention, Run, StepRun

from .causes import Placed
from .entries import Entry
from .words import Audience, at_most, ended, listed, seconds_between, times, tries_of, waits, words

RANK_RUN, RANK_STEP, RANK_TRY, RANK_DEED, RANK_NOT_REACHED, RANK_LAST = 1, 2, 3, 6, 7, 8

#: The possible effect of a step without an answer.
_MAY_HAVE = {
    "capture-payment": "may have charged the customer",
    "refund": "may have given the money back",
}
#: Texts of an action: done; requested.
_DEEDS = {
    "retry": ("retried", "retry"),
    "skip": ("skipped", "skip"),
    "undo": ("undid the order", "undo the order"),
    "cancel": ("cancelled the order", "cancel the order"),
    "pause": ("paused the order", "pause the order"),
    "resume": ("resumed the order", "resume the order"),
}


class RunEntries:
    """The entries of one run.

    Attributes:
        placed: all entries.
        steps: each begun step, with the time of its beginning.
    """

    def __init__(self, run: Run, event: Placed | None, to: Audience) -> None:
        self.run, self.to = run, to
        self.rows = list(run.steps.all())
        self.deeds = {asked.pk: Placed(entry=intervention(asked), rank=RANK_DEED) for asked in run.interventions}
        self.skips = {asked.applied_to: asked for asked in sagas.skips(run)}
        self.placed = list(self.deeds.values())
        self.steps: list[tuple[datetime, Placed]] = []
        self._write(self._add(_started(run), RANK_RUN, *([] if event is None else [event])))

    def _write(self, started: Placed) -> None:
        forward = [row for row in self.rows if self._goes_forward(row)]
        last = self._step_after_step(forward, started)
        if self.run.failure is not None:
            last = self._add(self._undo_started(self.run.failure), RANK_LAST, last, *self._deeds_of_undo())
        for row in forward:
            if row.status == StepStatus.SKIPPED:
                self._add_skipped(row, started, last)
        last = self._step_after_step([row for row in self.rows if row not in forward], last)
        if self.run.attention is not None:
            self._add(_needs_a_person(self.run, self.run.attention, self.to), RANK_LAST, last)
        if self.run.finished_at is not None:
            self._add(_ended(self.run, self.run.finished_at), RANK_LAST, last)

    def _goes_forward(self, row: StepRun) -> bool:
        """Say whether a step is of the plan the run began with, not of its undo."""
        back = [each.place for each in self.rows if each.action == RowAction.UNDO]
        return row.step not in _afterwards(self.run) and (not back or row.place < min(back))

    def _add(self, entry: Entry, rank: int, *after: Placed) -> Placed:
        self.placed.append(Placed(entry=entry, rank=rank, after=[*after]))
        return self.placed[-1]

    def _step_after_step(self, rows: list[StepRun], before: Placed) -> Placed:
        """Add the begun steps, each after the previous one; return the last entry."""
        for row in rows:
            if row.started_at is None:
                continue
            deed = self.skips.get(row.name)
            if deed is None:
                before = self._add(self._step(row, row.started_at), RANK_STEP, before)
                self.steps.append((row.started_at, before))
            for attempt in row.tries.all():
                tried = self._add(attempt_entry(words(row.name), attempt, self.to), RANK_TRY, before)
                before = tried if attempt.retry_at is None else before
            if deed is not None:
                before = self._add(self._by_hand(row, deed), RANK_STEP, before, self.deeds[deed.pk])
        return before

    def _step(self, row: StepRun, started_at: datetime) -> Entry:
        waiting, result = waits(row), self.run.results.get(row.name)
        step = definition(self.run, row)
        return Entry(
            at=started_at,
            kind="undo" if row.action == RowAction.UNDO else "step",
            title=words(row.name),
            status="waiting" if waiting else _what_came_of_it(row),
            detail=_step_detail(row, result, _policy(row, step), self.to),
            duration_seconds=seconds_between(started_at, row.finished_at),
            data={
                "name": row.name,
                "step": row.step,
                "queue": "" if step is None else step.queue,
                "attempts": row.attempts,
                "idempotency_key": row.idempotency_key,
                "result": result,
            },
            next_try_at=row.held_until if waiting and self.run.status in LIVE_RUNS else None,
        )

    def _by_hand(self, row: StepRun, deed: Intervention) -> Entry:
        """Add a step that a person skipped: the shop did not do it, and may not know whether it was done."""
        return Entry(
            at=deed.done_at or deed.asked_at,
            kind="undo" if row.action == RowAction.UNDO else "step",
            title=words(row.name),
            status="skipped by hand",
            detail=by_hand(deed, "Taken as done", row.name, row.tries.all()),
            data={"name": row.name, "step": row.step, "by": deed.by, "reason": deed.reason, "result": deed.result},
        )

    def _add_skipped(self, row: StepRun, started: Placed, turned: Placed) -> None:
        """Add a skipped step with its reason: its condition at the start of the run, or an undo before its turn."""
        not_reached = self.run.failure is not None and row.place > _furthest(self.rows)
        entry = Entry(
            at=turned.entry.at if not_reached else self.run.started_at,
            kind="step",
            title=words(row.name),
            status=StepStatus.SKIPPED,
            detail="Not reached." if not_reached else "Not needed for this order.",
            data={"name": row.name, "step": row.step},
        )
        placed = self._add(entry, RANK_NOT_REACHED, *([] if not_reached else [started]))
        if not_reached:
            turned.after.append(placed)

    def _deeds_of_undo(self) -> list[Placed]:
        return [self.deeds[asked.pk] for asked in self._asked_undo()]

    def _asked_undo(self) -> list[Intervention]:
        turns = (Action.UNDO, Action.CANCEL)
        return [asked for asked in self.run.interventions if asked.action in turns and asked.status == "done"]

    def _undo_started(self, failure: dict[str, Any]) -> Entry:
        asked = [deed.done_at for deed in self._asked_undo() if deed.done_at is not None]
        return Entry(
            at=asked[0] if asked else stopped_at(self.run, failure["step"]),
            kind="run",
            title=f"{words(self.run.saga)}: undo started",
            status=RunStatus.UNDOING,
            detail=self.to.tell(failure["kind"], failure["error"], failure["message"]),
            data={"id": str(self.run.id), "saga": self.run.saga, "failure": failure},
        )


def _started(run: Run) -> Entry:
    return Entry(
        at=run.started_at,
        kind="run",
        title=f"{words(run.saga)} started",
        status=run.status,
        duration_seconds=seconds_between(run.started_at, run.finished_at),
        data={"id": str(run.id), "saga": run.saga, "epoch": run.epoch},
    )


def _needs_a_person(run: Run, why: dict[str, Any], to: Audience) -> Entry:
    return Entry(
        at=stopped_at(run, why["step"]),
        kind="run",
        title=f"{words(run.saga)} needs a person",
        status=RunStatus.NEEDS_ATTENTION,
        detail=to.tell(why["kind"], why["error"], why["message"]),
        data={"id": str(run.id), "saga": run.saga, "attention": why},
    )


def _ended(run: Run, finished_at: datetime) -> Entry:
    return Entry(
        at=finished_at,
        kind="run",
        title=f"{words(run.saga)} {'undone' if run.status == RunStatus.UNDONE else 'completed'}",
        status=run.status,
        duration_seconds=seconds_between(run.started_at, finished_at),
        data={"id": str(run.id), "saga": run.saga},
    )


def intervention(asked: Intervention) -> Entry:
    """Return the entry of an intervention, with its reason."""
    done, wanted = _DEEDS[asked.action]
    deed = {"done": done, "pending": f"wants to {wanted}", "refused": f"could not {wanted}"}[asked.status]
    at = "" if "order" in done else f" “{asked.applied_to}”" if asked.applied_to else " what failed"
    return Entry(
        at=asked.done_at or asked.asked_at,
        kind="intervention",
        title=f"{asked.by} {deed}{at}",
        status=asked.status,
        detail=f"{asked.reason} · {asked.outcome}" if asked.outcome else asked.reason,
        data={
            "id": asked.pk,
            "action": asked.action,
            "by": asked.by,
            "reason": asked.reason,
            "step": asked.applied_to,
            "outcome": asked.outcome,
            "result": asked.result,
            "asked_at": asked.asked_at.isoformat(),
        },
    )


def by_hand(deed: Intervention, what: str, name: str, tries: Iterable[Attempt]) -> str:
    """Return the text of a skip: person, reason, and the possible effect of unanswered tries before it."""
    unanswered = sum(attempt.kind == FailureKind.UNKNOWN for attempt in tries)
    may_have = _MAY_HAVE.get(name, "may have taken effect")
    doubt = f" {tries_of(unanswered).capitalize()} before had no answer and {may_have}." if unanswered else ""
    return f"{what} by {deed.by}: {ended(deed.reason)}{doubt}"


def attempt_entry(title: str, attempt: Attempt, to: Audience) -> Entry:
    return Entry(
        at=attempt.failed_at,
        kind="attempt",
        title=f"{title}: try {attempt.number} failed",
        status=attempt.kind,
        detail=to.tell(attempt.kind, attempt.error, attempt.message),
        duration_seconds=seconds_between(attempt.started_at, attempt.failed_at),
        data={
            "number": attempt.number,
            "error": attempt.error,
            "message": attempt.message,
            "traceback": attempt.traceback,
            "retry_at": None if attempt.retry_at is None else attempt.retry_at.isoformat(),
        },
    )


def stopped_at(run: Run, name: str) -> datetime:
    """Return when a step gave up; after a deadline, which has no step, the undo began at once."""
    rows = list(run.steps.all())
    stopped = [row.finished_at for row in rows if row.name == name and row.finished_at is not None]
    turned = [row.started_at for row in rows if row.action == RowAction.UNDO and row.started_at is not None]
    return min(stopped or turned or [run.finished_at or run.due_at or run.started_at])


def _furthest(rows: list[StepRun]) -> int:
    """Return the place of the last step that was tried before the undo; -1 for none."""
    tried = (StepStatus.FAILED, StepStatus.UNDOING, StepStatus.UNDONE)
    return max((row.place for row in rows if row.status in tried), default=-1)


def _what_came_of_it(row: StepRun) -> str:
    """Return the outcome of a step when it was made; a later undo has its own entry."""
    if row.status not in (StepStatus.UNDOING, StepStatus.UNDONE):
        return str(row.status)
    tries = list(row.tries.all())
    is_given_up = bool(tries) and tries[-1].number == row.attempts
    return StepStatus.UNKNOWN if is_given_up or row.finished_at is None else StepStatus.DONE


def _step_detail(row: StepRun, result: dict[str, Any] | None, policy: Retry | None, to: Audience) -> str:
    tries = list(row.tries.all())
    if waits(row):
        return f"Failed {times(row.attempts)}{at_most(policy)}; it will be tried again."
    if row.status == StepStatus.FAILED:
        last = tries[-1] if tries and tries[-1].kind == FailureKind.REJECTED else None
        refused = None if last is None else ended(to.tell(last.kind, last.error, last.message))
        return refused or f"Gave up after {tries_of(row.attempts)}."
    undone = ["undone later"] if row.status == StepStatus.UNDONE else []
    return " · ".join([*listed(result), *([f"at try {row.attempts}"] if row.attempts > 1 else []), *undone])


def definition(run: Run, row: StepRun) -> Step | None:
    try:
        return registry.saga(run.saga).step(row.step)
    except (UnknownSagaError, DefinitionError):
        return None


def _policy(row: StepRun, step: Step | None) -> Retry | None:
    if step is None:
        return None
    return step.undo_retry if row.action == RowAction.UNDO else step.retry


def _afterwards(run: Run) -> set[str]:
    """Return the steps that follow the undo."""
    try:
        return {step.name for step in registry.saga(run.saga).after_undo}
    except UnknownSagaError:
        return set()
