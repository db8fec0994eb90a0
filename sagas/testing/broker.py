"""A broker and its workers in one process: handles messages as Celery does, one at a time.

No message leaves the process. A test decides which message is delivered next, and whether one is lost, doubled or late.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from django.utils import timezone

from ..conf import conf
from ..core.errors import StepFailed
from ..engine import deliveries
from ..engine.wake_ups import DeliveryWakeUp, StepTask, WakeUp
from ..log.relay import Relayed
from ..messaging.handling import Handling
from ..models import Event
from .clock import Clock


class Killed(BaseException):
    """The process that did the work has died. Raised by a test inside a handler; no other code may catch it."""


@dataclass(frozen=True, kw_only=True)
class ChainMessage:
    """One step of a chain, with the rest of the chain and the error callback."""

    wake_up: WakeUp
    index: int = 0

    @property
    def task(self) -> StepTask:
        return self.wake_up.tasks[self.index]

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def following(self) -> "ChainMessage | None":
        more = self.index + 1 < len(self.wake_up.tasks)
        return ChainMessage(wake_up=self.wake_up, index=self.index + 1) if more else None


@dataclass(frozen=True, kw_only=True)
class ErrorMessage:
    """The error callback of a chain."""

    wake_up: WakeUp
    name: ClassVar[str] = "sagas.undo"


@dataclass(frozen=True, kw_only=True)
class DeliveryMessage:
    """The message for some deliveries."""

    wake_up: DeliveryWakeUp

    @property
    def name(self) -> str:
        return self.wake_up.task


Body = ChainMessage | ErrorMessage | DeliveryMessage


@dataclass(eq=False)
class Message:
    """A message on a queue; messages are compared by identity.

    Attributes:
        redelivered: it was delivered before, to a process that died.
        in_hand: a worker has it and has not acknowledged it.
    """

    body: Body
    redelivered: bool = False
    in_hand: bool = False

    def __str__(self) -> str:
        return self.body.name


class Broker:
    """Holds messages until a test delivers them, and handles them as Celery's workers do.

    Attributes:
        messages: unacknowledged messages, oldest first; a test may remove, reorder or repeat them.
    """

    def __init__(self, clock: Clock = timezone.now) -> None:
        self.clock = clock
        self.messages: list[Message] = []
        self.handling = Handling(send=self.send, clock=self._now)

    def _now(self) -> datetime:
        return self.clock()

    # Messages out: always by `publish`.

    def publish(self, body: Body) -> Message:
        """Append a message."""
        message = Message(body)
        self.messages.append(message)
        return message

    def send(self, wake_ups: Iterable[WakeUp] = (), owed: Iterable[DeliveryWakeUp] = ()) -> None:
        """Publish the first step of each chain, then deliveries: `tasks.send`."""
        for wake_up in wake_ups:
            self.publish(ChainMessage(wake_up=wake_up))
        for delivery in owed:
            self.publish(DeliveryMessage(wake_up=delivery))

    # Messages in.

    @property
    def waiting(self) -> list[Message]:
        """The messages that no worker has, oldest first."""
        return [message for message in self.messages if not message.in_hand]

    def deliver(self, message: Message) -> None:
        """Deliver a message to a worker; it is acknowledged and removed when the worker has handled it.

        Raises:
            Killed: the worker died of it; the message is waiting again, marked as redelivered. `drop` it to lose it.
        """
        message.in_hand = True
        try:
            self._handle(message)
        except Killed:
            message.in_hand, message.redelivered = False, True
            raise
        self.messages.remove(message)

    def drop(self, message: Message) -> None:
        """Lose a message."""
        self.messages.remove(message)

    def double(self, message: Message) -> Message:
        """Repeat a message, as a broker does that restores messages which were acknowledged too late."""
        return self.publish(message.body)

    def work_off(self) -> None:
        """Deliver waiting messages, oldest first, until there are none."""
        while waiting := self.waiting:
            self.deliver(waiting[0])

    def _handle(self, message: Message) -> None:
        match message.body:
            case ChainMessage() as body:
                self._take_step(body, redelivered=message.redelivered)
            case ErrorMessage(wake_up=wake_up):
                self.handling.after_failure(wake_up.run_ids, wake_up.epoch)
            case DeliveryMessage(wake_up=owed):
                self.handling.deliver(owed.delivery_ids)

    def _take_step(self, body: ChainMessage, *, redelivered: bool) -> None:
        """Take a step; Celery publishes what follows before it acknowledges, so a crash here doubles it."""
        run_ids, epoch = body.wake_up.run_ids, body.wake_up.epoch
        try:
            carries_on = self.handling.take_step(run_ids, body.task.place, epoch, redelivered=redelivered)
        except StepFailed:
            self.publish(ErrorMessage(wake_up=body.wake_up))
            return
        if carries_on and body.following is not None:
            self.publish(body.following)

    # The work that beat starts each second.

    def relay(self) -> int:
        """Relay new events, at most `SAGAS_RELAY_LIMIT`; return how many there were."""
        return self.relay_turn().events

    def relay_turn(self) -> Relayed:
        """As `relay`; return the whole outcome."""
        return self.handling.relay(limit=conf.RELAY_LIMIT)

    def sweep(self) -> None:
        """Send again what is due: runs, then deliveries; execute interventions and replays."""
        self.handling.sweep()


def drive(*, now: Clock = timezone.now) -> None:
    """Do all work that is due: relay, chains, error callbacks, deliveries, sweep; return when there is none.

    Work that is due later stays: move the clock and drive again.
    """
    broker = Broker(now)
    while True:
        more = broker.relay_turn().more
        broker.sweep()
        if not more and not broker.messages and not Event.objects.filter(log_position=None).exists():
            return
        while broker.messages:
            # Chains first: tests expect the effects of steps before those of reactions.
            broker.deliver(min(broker.messages, key=lambda message: isinstance(message.body, DeliveryMessage)))


def run_chain(wake_up: WakeUp, *, now: Clock = timezone.now) -> list[WakeUp]:
    """Run a chain and its error callback as Celery does; return the chains that are sent meanwhile."""
    broker = Broker(now)
    broker.send([wake_up])
    while own := [message for message in broker.messages if message.body.wake_up is wake_up]:
        broker.deliver(own[0])
    return [message.body.wake_up for message in broker.messages if isinstance(message.body, ChainMessage)]


def run_delivery(wake_up: DeliveryWakeUp, *, now: Clock = timezone.now) -> list[DeliveryWakeUp]:
    """Run the task of a delivery; return the messages for the deliveries behind it."""
    return deliveries.deliver(delivery_ids=wake_up.delivery_ids, clock=now)
