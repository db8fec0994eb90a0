"""What a message does, whatever carries it: Celery's tasks and the test kit's broker both call this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from ..conf import conf
from ..engine import deliveries, steps
from ..engine.sweep import sweep_runs
from ..engine.undo import after_failure
from ..engine.wake_ups import DeliveryWakeUp, WakeUp
from ..log.relay import FindNew, Relayed, new_events, relay_events
from ..operations import interventions, replays

logger = structlog.get_logger(__name__)


class Send(Protocol):
    """Publishes messages. It is called after the commit of what the messages speak of."""

    def __call__(self, wake_ups: Sequence[WakeUp] = (), owed: Sequence[DeliveryWakeUp] = ()) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Handling:
    """Handles messages: calls the engine, and sends what follows.

    Each method opens its own transactions, refuses one, and is harmless when called twice.
    """

    send: Send
    clock: Callable[[], datetime]

    def take_step(self, run_ids: Sequence[UUID], place: int, epoch: int, *, redelivered: bool) -> bool:
        """Take runs one step on; say whether the rest of the chain has work.

        Raises:
            StepFailed: the step of a run that was sent alone was given up; call the chain's error callback.
        """
        outcome = steps.execute(run_ids=run_ids, place=place, epoch=epoch, clock=self.clock, redelivered=redelivered)
        self.send(outcome.wake_ups)
        if outcome.failed is not None:
            raise outcome.failed
        return outcome.carries_on

    def after_failure(self, run_ids: Sequence[UUID], epoch: int) -> None:
        """Start the undo of runs that were given up, or note that they need a person: a chain's error callback."""
        self.send(after_failure(run_ids=run_ids, epoch=epoch, now=self.clock()))

    def deliver(self, delivery_ids: Sequence[int]) -> None:
        """Make deliveries."""
        self.send(owed=deliveries.deliver(delivery_ids=delivery_ids, clock=self.clock))

    def relay(self, *, limit: int, find_new: FindNew = new_events, low_priority: bool = True) -> Relayed:
        """Take new events into the log, and send what they start."""
        relayed = relay_events(now=self.clock(), limit=limit, find_new=find_new, low_priority=low_priority)
        self.send(relayed.wake_ups, relayed.deliveries)
        return relayed

    def sweep(self) -> None:
        """Send again what is due: runs, then deliveries; then do what people asked for.

        Each part is done whatever became of those before it; the first error is raised at the end.
        """
        now, limit = self.clock(), conf.RELAY_LIMIT
        _each(
            lambda: self.send(sweep_runs(now=now, limit=limit)),
            lambda: self.send(owed=deliveries.sweep_deliveries(now=now, limit=limit)),
            self.work_on_interventions,
        )

    def work_on_interventions(self, batch: UUID | None = None) -> int:
        """Do a portion of what people asked for; return how many interventions and replayed events there were."""
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
