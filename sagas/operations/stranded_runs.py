"""Runs that a deploy would strand: open runs that the current definitions cannot continue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from ..core import registry
from ..core.errors import DefinitionError, UnknownSagaError
from ..core.saga import Pivot, Saga, Step
from ..core.statuses import MAY_HAVE_EFFECT, OPEN_RUNS, RowAction, StepStatus
from ..engine.rules import goes_back
from ..engine.wake_ups import tasks_of
from ..models import Run, StepRun


@dataclass(frozen=True, kw_only=True)
class FaultInFlight:
    """A run that this code cannot continue, and the reason."""

    run_id: UUID
    saga: str
    key: str
    status: str
    fault: str


def faults_in_flight() -> Iterator[FaultInFlight]:
    """Yield the faults that keep this code from continuing open runs, one sentence each; rows are read as a stream.

    A run keeps the plan it began with. So only its remaining steps are checked, and the steps its undo would need.
    """
    runs = Run.objects.filter(status__in=OPEN_RUNS).order_by("id").prefetch_related("steps")
    for run in runs.iterator(chunk_size=1000):
        rows = sorted(run.steps.all(), key=lambda row: row.place)
        for fault in _faults(run, rows):
            yield FaultInFlight(run_id=run.id, saga=run.saga, key=run.key, status=run.status, fault=fault)


def how_many() -> int:
    return Run.objects.filter(status__in=OPEN_RUNS).count()


def _faults(run: Run, rows: Sequence[StepRun]) -> Iterator[str]:
    try:
        saga = registry.saga(run.saga)
    except UnknownSagaError as error:
        yield str(error)
        return
    try:
        saga.input.read(run.input, version=run.input_version)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        yield f"its input cannot be read: {place}: {first['msg']}"
    if run.definition_hash == saga.definition_hash:
        return
    try:
        tasks_of(run, rows)
    except DefinitionError as error:
        yield str(error)
    yield from _faults_of_plan(run, rows, saga)


def _faults_of_plan(run: Run, rows: Sequence[StepRun], saga: Saga) -> Iterator[str]:  # type: ignore[type-arg]
    planned = [row for row in rows if row.action == RowAction.RUN]
    steps = {step.name: step for step in (*saga.steps, *saga.after_undo)}
    yield from _changed_order([row.step for row in planned], list(steps))
    for row in planned:
        step = steps.get(row.step)
        if step is not None:
            yield from _faults_of_row(run, row, step)
        elif not goes_back(run) and row.status in MAY_HAVE_EFFECT and _before_pivot(run, row):
            yield f"there is no step {row.step!r} any more, which took effect and may have to be undone"


def _changed_order(planned: list[str], today: list[str]) -> Iterator[str]:
    both = [name for name in planned if name in today]
    if both != [name for name in today if name in both]:
        yield f"its steps are in another order: {', '.join(both)}"


def _faults_of_row(run: Run, row: StepRun, step: Step) -> Iterator[str]:
    unanswered = row.status in (StepStatus.RUNNING, StepStatus.UNKNOWN)
    if unanswered and step.probe is None:
        yield f"step {row.step!r} has an unanswered call and nothing to ask after it"
    if isinstance(step, Pivot) != (row.place == run.pivot_place) and row.status == StepStatus.PENDING:
        was = "was" if row.place == run.pivot_place else "was not"
        yield f"step {row.step!r} {was} the pivot when it began"
    if not goes_back(run) and step.undo is None and _before_pivot(run, row) and row.status != StepStatus.SKIPPED:
        yield f"step {row.step!r} stands before the pivot it began with and has no undo"


def _before_pivot(run: Run, row: StepRun) -> bool:
    return run.pivot_place is None or (run.place <= run.pivot_place and row.place < run.pivot_place)
