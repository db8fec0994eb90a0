"""From rows to messages. A message holds ids only: a lost or doubled message changes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from ..core import registry
from ..core.errors import DefinitionError, UnknownSagaError
from ..core.statuses import LIVE_RUNS, DeliveryStatus, RowAction
from ..models import Delivery, Run, StepRun
from .limits import portions

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class StepTask:
    """The message that executes the step at `place` of runs."""

    name: str
    queue: str
    place: int


@dataclass(frozen=True, kw_only=True)
class WakeUp:
    """A chain to send: the same steps, from here on, for runs of the same plan and epoch.

    Attributes:
        low_priority: that of the runs.
        single: a batch had no outcome for this run. Its message has low priority: it costs as much as a batch does, and
            may wait for a provider that does not answer.
    """

    run_ids: tuple[UUID, ...]
    epoch: int
    tasks: tuple[StepTask, ...]
    low_priority: bool = False
    single: bool = False


@dataclass(frozen=True, kw_only=True)
class DeliveryWakeUp:
    """A message to send: these deliveries of one subscription may be due; `low_priority`, `single` as above."""

    delivery_ids: tuple[int, ...]
    task: str
    queue: str
    low_priority: bool = False
    single: bool = False


def wake_ups(runs: Iterable[Run], rows: Iterable[StepRun], *, single: bool = False) -> list[WakeUp]:
    """Return the chains that continue `runs` from the position in their journal; runs of one shape share chains.

    Args:
        single: each run gets its own chain, for a batch had no outcome for it.
    """
    rows_of: dict[UUID, list[StepRun]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.place):
        rows_of[row.run_id].append(row)
    groups: dict[tuple[int, tuple[StepTask, ...], bool], list[UUID]] = defaultdict(list)
    for run in runs:
        if run.status not in LIVE_RUNS:
            continue  # nothing was left to undo: it has no next step
        try:
            tasks = tuple(tasks_of(run, rows_of[run.id]))
        except (UnknownSagaError, DefinitionError) as error:
            # Other code planned it; a process with that code continues it.
            logger.warning("run_of_other_code", run_id=str(run.id), error=str(error))
            continue
        groups[run.epoch, tasks, run.low_priority].append(run.id)
    return [
        WakeUp(run_ids=tuple(portion), epoch=epoch, tasks=tasks, low_priority=low_priority, single=single)
        for (epoch, tasks, low_priority), ids in groups.items()
        for portion in portions(ids, single=single)
    ]


def wake_ups_of(runs: Sequence[Run], *, single: bool = False) -> list[WakeUp]:
    """As `wake_ups`, with the rows read from the journal."""
    return wake_ups(runs, StepRun.objects.filter(run__in=runs), single=single) if runs else []


def tasks_of(run: Run, rows: Iterable[StepRun]) -> list[StepTask]:
    """Return the messages that take a run from its current step to its end.

    Raises:
        UnknownSagaError, DefinitionError: this process does not know the saga, or one of the steps.
    """
    saga = registry.saga(run.saga)
    by_place = {row.place: row for row in rows}
    tasks = []
    place: int | None = run.place
    while place is not None:
        row = by_place[place]
        step = saga.step(row.step)
        if row.action == RowAction.UNDO and step.undo is None:
            raise DefinitionError(f"saga {saga.name} has no undo of {row.step!r}")
        name = step.undo_task if row.action == RowAction.UNDO else step.task
        tasks.append(StepTask(name=name, queue=step.queue, place=place))
        place = row.next_place
    return tasks


def delivery_wake_ups(
    name: str, ids: Sequence[int], *, low_priority: bool = False, single: bool = False
) -> list[DeliveryWakeUp]:
    """Return the messages that carry deliveries of one subscription, in their order; none if it is unknown.

    Args:
        single: each gets its own message, for a batch had no outcome for it.
    """
    subscription = registry.subscription(name)
    if subscription is None:
        logger.warning("unknown_subscription", subscription=name, deliveries=len(ids))
        return []
    return [
        DeliveryWakeUp(
            delivery_ids=tuple(portion),
            task=subscription.task,
            queue=subscription.queue,
            low_priority=low_priority,
            single=single,
        )
        for portion in portions(ids, single=single)
    ]


def delivery_wake_ups_of(deliveries: Iterable[Delivery], *, single: bool = False) -> list[DeliveryWakeUp]:
    """As `delivery_wake_ups`, with the rows read from the database; parked ones are left out."""
    ids: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.status != DeliveryStatus.PARKED:
            ids[delivery.subscription, delivery.low_priority].append(delivery.pk)
    return [
        wake_up
        for (name, low_priority), owed in ids.items()
        for wake_up in delivery_wake_ups(name, owed, low_priority=low_priority, single=single)
    ]
