"""Plans: all steps of a run are written when it starts; its undo is planned from the steps that took effect."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from ..core.events import DomainEvent
from ..core.saga import Saga, Step
from ..core.statuses import MAY_HAVE_EFFECT, RowAction, RunStatus, StepStatus
from ..models import Event, Run, StepRun
from .limits import resend_after


def plan(
    saga: Saga[Any], event: Event, *, now: datetime, left_out: Sequence[bool] | None = None
) -> tuple[Run, list[StepRun]]:
    """Return the rows of a new run, not yet saved.

    Args:
        left_out: the value of `skipped` for the event's data; computed if not given.

    Raises:
        pydantic.ValidationError: the event's data is not readable.
    """
    if left_out is None:
        left_out = skipped(saga, saga.input.read(event.data, version=event.version))
    run = Run(
        saga=saga.name,
        definition_hash=saga.definition_hash,
        key=event.key,
        pivot_place=saga.pivot_place,
        input=event.data,
        input_version=event.version,
        due_at=now + resend_after(0),
        deadline_at=None if saga.deadline is None else now + saga.deadline,
        event_id=event.id,
        correlation_id=event.correlation_id,
        traceparent=event.traceparent,
        low_priority=event.low_priority,
        started_at=now,
    )
    rows = [_row(run, place, step) for place, step in enumerate(saga.steps)]
    for row, is_skipped in zip(rows, left_out, strict=True):
        if is_skipped:
            row.status = StepStatus.SKIPPED
    path = [row for row in rows if row.status == StepStatus.PENDING]
    _link(path)
    if path:
        run.place = path[0].place
    else:
        run.status, run.due_at, run.deadline_at, run.finished_at = RunStatus.COMPLETED, None, None, now
    return run, rows


def skipped(saga: Saga[Any], event: DomainEvent) -> tuple[bool, ...]:
    """Return for each step whether the input skips it: runs with the same values have the same plan."""
    return tuple(step.when is not None and not step.when(event) for step in saga.steps)


def plan_undo(saga: Saga[Any], run: Run, rows: Sequence[StepRun]) -> list[StepRun]:
    """Return the rows of a run's undo, not yet saved: possible effects in reverse order, then `after_undo`."""
    effects = [row for row in rows if row.action == RowAction.RUN and row.status in MAY_HAVE_EFFECT]
    place = max((row.place for row in rows), default=-1)
    undo = []
    for row in reversed(effects):
        step = saga.step(row.step)
        if step.undo is not None:
            place += 1
            undo.append(
                StepRun(
                    run=run,
                    place=place,
                    name=step.undo_name,
                    step=step.name,
                    action=RowAction.UNDO,
                    idempotency_key=row.idempotency_key,
                )
            )
    for step in saga.after_undo:
        place += 1
        undo.append(_row(run, place, step))
    _link(undo)
    return undo


def _row(run: Run, place: int, step: Step) -> StepRun:
    return StepRun(run=run, place=place, name=step.name, step=step.name, idempotency_key=f"{run.id}:{step.name}")


def _link(path: list[StepRun]) -> None:
    for row, following in pairwise(path):
        row.next_place = following.place
