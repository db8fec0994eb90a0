"""The handling of a message, for every transport: Celery's tasks and the test kit's broker both call this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog
from django.db import DatabaseError

from ..conf import conf
from ..engine import deliveries, steps
from ..engine.due import Due, due
from ..engine.sweep import sweep_runs
from ..engine.undo import after_failure
from ..engine.wake_ups import DeliveryWakeUp, WakeUp
from ..log.relay import FindNew, Relayed, new_events, relay_events
from ..operations import interventions, replays

logger = structlog.get_logger(__name__)


class Send(Protocol):
    """Publishes messages. It is called after the commit of the rows that the messages name."""

    def __call__(self, wake_ups: Sequence[WakeUp] = (), owed: Sequence[DeliveryWakeUp] = ()) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Handling:
    """Handles messages: calls the engine, and sends the next messages.

    Each method opens its own transactions, refuses one, and is idempotent.
    """

    send: Send
    clock: Callable[[], datetime]

    def take_step(self, run_ids: Sequence[UUID], place: int, epoch: int, *, redelivered: bool) -> bool:
        """Execute one step of runs; say whether the rest of the chain has work.

        Raises:
            StepFailed: the step of a single run was given up; call the chain's error callback.
        """
        outcome = steps.execute(run_ids=run_ids, place=place, epoch=epoch, clock=self.clock, redelivered=redelivered)
        self.send(outcome.wake_ups)
        if outcome.failed is not None:
            raise outcome.failed
        return outcome.carries_on

    def after_failure(self, run_ids: Sequence[UUID], epoch: int) -> None:
        """Start the undo of runs that were given up, or set them as needing a person: a chain's error callback."""
        self.send(after_failure(run_ids=run_ids, epoch=epoch, now=self.clock()))

    def deliver(self, delivery_ids: Sequence[int]) -> None:
        """Make deliveries."""
        self.send(owed=deliveries.deliver(delivery_ids=delivery_ids, clock=self.clock))

    def relay(self, *, limit: int, find_new: FindNew = new_events, low_priority: bool = True) -> Relayed:
        """Take new events into the log, and send the messages for them."""
        relayed = relay_events(now=self.clock(), limit=limit, find_new=find_new, low_priority=low_priority)
        self.send(relayed.wake_ups, relayed.deliveries)
        return relayed

    def sweep(self) -> None:
        """Send due runs again, then due deliveries; then execute interventions.

        Each part runs also if an earlier one failed; the first error is raised at the end.
        """
        now, limit = self.clock(), conf.RELAY_LIMIT
        try:
            found = due(now)
        except DatabaseError:  # each part says what it cannot read
            found = Due(runs=True, deliveries=True, interventions=True)
        parts: list[Callable[[], object]] = []
        if found.runs:
            parts.append(lambda: self.send(sweep_runs(now=now, limit=limit)))
        if found.deliveries:
            parts.append(lambda: self.send(owed=deliveries.sweep_deliveries(now=now, limit=limit)))
        if found.interventions:
            parts.append(self.work_on_interventions)
        _each(*parts)

    def work_on_interventions(self, batch: UUID | None = None) -> int:
        """Execute a portion of the interventions; return how many interventions and replayed events there were."""
        worked = interventions.work(now=self.clock(), batch=batch)
        self.send(worked.wake_ups, worked.deliveries)
        replayed = replays.work(now=self.clock(), batch=batch)
        self.send(owed=replayed.deliveries)
        return worked.done + worked.refused + replayed.events


def _each(*parts: Callable[[], object]) -> None:
    first: Exception | None = None
    for part in parts:
        try:
            part()
        except Exception as error:
            if first is None:
                first = error
            else:
                logger.exception("sweep_failed")
    if first is not None:
        raise first
