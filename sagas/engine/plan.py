"""From a definition to rows, and from rows to the messages that carry them.

A run's whole plan is written when it starts; its undo is planned from what took effect. Messages hold ids only:
losing or doubling one changes nothing (rule 1).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings

from ..core import registry
from ..core.errors import DefinitionError
from ..core.events import DomainEvent
from ..core.retry import Retry
from ..core.saga import Saga, Step
from ..core.statuses import LIVE_RUNS, MAY_HAVE_EFFECT, RunStatus, StepStatus
from ..core.subscription import Subscription
from ..models import Event, Run, StepRun

logger = structlog.get_logger(__name__)

T = TypeVar("T")

#: Counted no further: the pause has long reached its cap.
MAX_RESENDS = 10

#: A worker that is killed takes down neighbours that never began, and queues may be slow: so many tries may leave
#: no trace before the step itself counts as what kills its worker.
MAX_LOST_TRIES = 5
#: Lost so often, work is no longer done together with other work: it may be what killed the worker of them all. Once
#: is nothing: its message may only have stood in a long queue.
SUSPECT_LOST_TRIES = 2


@dataclass(frozen=True, kw_only=True)
class StepTask:
    """The message that makes runs take the step at `place`."""

    name: str
    queue: str
    place: int


@dataclass(frozen=True, kw_only=True)
class WakeUp:
    """A chain to send: the same steps, from here on, for runs of the same plan and epoch."""

    run_ids: tuple[UUID, ...]
    epoch: int
    undoing: bool
    tasks: tuple[StepTask, ...]
    #: Nobody sits and waits for these runs.
    low_priority: bool = False
    #: A batch has left this run. It yields: it costs as much as a batch, and may wait for a provider's silence.
    single: bool = False


def resend_after(resends: int) -> timedelta:
    """Return how long to wait for progress before sending again; doubled each time, ten minutes at most.

    A queue nobody serves for a while therefore does not fill with copies.
    """
    return timedelta(seconds=min(600.0, settings.SAGAS_RESEND_AFTER_SECONDS * 2 ** min(resends, MAX_RESENDS)))


def looked_after_at(due_at: datetime | None, *, now: datetime) -> datetime:
    """Return when the sweep looks after a run that has just got on: half of `resend_after` from now at the soonest.

    A moment that is still good is kept: a row whose indexed columns stay as they are is updated in its page alone
    (PostgreSQL's heap-only tuples), and that is most of what a step costs.
    """
    longest = resend_after(0)
    if due_at is not None and now + longest / 2 <= due_at <= now + longest:
        return due_at
    return now + longest


def lease_of(work: Step | Subscription) -> timedelta:
    """Return how long one try of an outside call may take before somebody else looks after it."""
    return timedelta(seconds=settings.SAGAS_LEASE_SECONDS) if work.lease is None else work.lease


def limit_of(work: Step | Subscription, policy: Retry) -> float:
    """Return how many seconds one try may take: never longer than the lease of a call outside, which would be void."""
    limit = settings.SAGAS_TRY_SECONDS if policy.try_seconds is None else policy.try_seconds
    return min(limit, lease_of(work).total_seconds()) if work.outside else float(limit)


def plan(saga: Saga[Any], event: Event, *, now: datetime) -> tuple[Run, list[StepRun]]:
    """Return the rows of a new run, not yet saved.

    Raises:
        pydantic.ValidationError: the event's data is not readable.
    """
    order = saga.input.read(event.data, version=event.version)
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
    for row, is_skipped in zip(rows, skipped(saga, order), strict=True):
        if is_skipped:
            row.status = StepStatus.SKIPPED
    path = [row for row in rows if row.status == StepStatus.PENDING]
    _link(path)
    if path:
        run.place = path[0].place
    else:
        run.status, run.due_at, run.deadline_at, run.finished_at = RunStatus.COMPLETED, None, None, now
    return run, rows


def skipped(saga: Saga[Any], order: DomainEvent) -> tuple[bool, ...]:
    """Say of each step whether the input leaves it out: runs that agree in this have the same plan."""
    return tuple(step.when is not None and not step.when(order) for step in saga.steps)


def plan_undo(saga: Saga[Any], run: Run, rows: Sequence[StepRun]) -> list[StepRun]:
    """Return the rows of a run's undo, not yet saved: what may have taken effect in reverse, then what follows."""
    effects = [row for row in rows if row.action == StepRun.Action.RUN and row.status in MAY_HAVE_EFFECT]
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
                    action=StepRun.Action.UNDO,
                    idempotency_key=row.idempotency_key,
                )
            )
    for step in saga.after_undo:
        place += 1
        undo.append(_row(run, place, step))
    _link(undo)
    return undo


def wake_ups(runs: Iterable[Run], rows: Iterable[StepRun], *, single: bool = False) -> list[WakeUp]:
    """Return the chains that take `runs` on from where their journal stands; runs of one shape share chains.

    Args:
        alone: each run gets a chain of its own, for a batch has left it.
    """
    rows_of: dict[UUID, list[StepRun]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.place):
        rows_of[row.run_id].append(row)
    groups: dict[tuple[int, bool, tuple[StepTask, ...], bool], list[UUID]] = defaultdict(list)
    for run in runs:
        if run.status not in LIVE_RUNS:
            continue  # nothing was left to undo: it has no place to go on from
        try:
            tasks = tuple(tasks_of(run, rows_of[run.id]))
        except DefinitionError as error:
            # Other code planned it; a process that has that code takes it on.
            logger.warning("run_of_other_code", run_id=str(run.id), error=str(error))
            continue
        groups[run.epoch, run.status == RunStatus.UNDOING, tasks, run.low_priority].append(run.id)
    return [
        WakeUp(
            run_ids=tuple(portion), epoch=epoch, undoing=undoing, tasks=tasks, low_priority=low_priority, single=single
        )
        for (epoch, undoing, tasks, low_priority), ids in groups.items()
        for portion in portions(ids, single=single)
    ]


def portions(ids: Sequence[T], *, single: bool = False) -> Iterator[Sequence[T]]:
    """Yield `ids` in portions that share a message: `SAGAS_BATCH_SIZE` at most, or one each."""
    size = 1 if single else settings.SAGAS_BATCH_SIZE
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def wake_ups_of(runs: Sequence[Run], *, single: bool = False) -> list[WakeUp]:
    """As `wake_ups`, with the rows read from the journal."""
    return wake_ups(runs, StepRun.objects.filter(run__in=runs), single=single) if runs else []


def tasks_of(run: Run, rows: Iterable[StepRun]) -> list[StepTask]:
    """Return the messages that take a run from where it stands to its end.

    Raises:
        DefinitionError: this process does not know one of the steps.
    """
    saga = registry.saga(run.saga)
    by_place = {row.place: row for row in rows}
    tasks = []
    place: int | None = run.place
    while place is not None:
        row = by_place[place]
        step = saga.step(row.step)
        if row.action == StepRun.Action.UNDO and step.undo is None:
            raise DefinitionError(f"saga {saga.name} has no undo of {row.step!r}")
        name = step.undo_task if row.action == StepRun.Action.UNDO else step.task
        tasks.append(StepTask(name=name, queue=step.queue, place=place))
        place = row.next_place
    return tasks


def _row(run: Run, place: int, step: Step) -> StepRun:
    return StepRun(run=run, place=place, name=step.name, step=step.name, idempotency_key=f"{run.id}:{step.name}")


def _link(path: list[StepRun]) -> None:
    for row, following in pairwise(path):
        row.next_place = following.place
