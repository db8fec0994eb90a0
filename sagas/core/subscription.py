"""How a reaction to an event is written down: who reacts, where, and how often it is tried."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, TypeVar
from uuid import UUID

from .events import DomainEvent, StoredEvent
from .retry import PATIENT, Retry
from .saga import Failure, Saga, task_name

E = TypeVar("E", bound=DomainEvent)


@dataclass(frozen=True, kw_only=True)
class Received(Generic[E]):
    """What a reaction is called with.

    Attributes:
        event: what happened, as today's code reads it.
        stored: the row of the log, for who passes it on as it was written.
        idempotency_key: is the same in every try; a replay has one of its own.
    """

    event: E
    event_id: UUID
    stored: StoredEvent
    idempotency_key: str
    attempt: int
    now: datetime


#: The form of a reaction that takes many events at once. It returns an outcome for each, by `Received.event_id`: what a
#: reaction returns is not used, an exception is what this one failed with. An event that is missing is reacted to
#: alone.
ReactionToMany = Callable[[Sequence[Received[Any]]], Mapping[UUID, object]]


class StartAt(StrEnum):
    """Which events a subscription gets that the shop did not have before."""

    NOW = "now"  #: those written from its first deploy on
    BEGINNING = "beginning"  #: all there ever were


@dataclass(frozen=True)
class Subscription:
    """A named reaction to an event type, or to several: then in the order in which they happened to a key.

    *Inside* (the default) the reaction commits together with its delivery, exactly once. *Outside* it runs in no
    transaction and at least once: it must be idempotent by a key of its own.

    A reaction is written in one form, as a step is: `react` takes one event, `react_many` takes many and returns an
    outcome for each.

    A reaction that gives up (rejected, or out of tries) is parked for a person, and so are the later events of its key
    behind it, unless the subscription has `on_give_up`.

    Attributes:
        name: kebab-case, unique in the project.
        event: the type or types of events that it reacts to.
        queue: the queue of its Celery task.
        on_give_up: writes down what follows from giving up, in the transaction that ends the delivery as failed.
        retry: when a failed try is made again, and how often.
        lease: how long one try outside may take before another worker takes it over; by default the setting
            `SAGAS_LEASE_SECONDS`.
        start_at: which events a new subscription gets.
        max_open_deliveries: with so many open deliveries it gets no more: it falls behind in the log, and the log keeps
            the rest. None: no limit.
        at_once: outside, so many messages of it are worked on at the same time, whatever waits: a slow receiver holds
            no more workers. None: as many as there are workers.
        configured: it stands in the environment of a process, not in the code; the committed catalogue leaves it out.
    """

    name: str
    _: KW_ONLY
    event: type[DomainEvent] | tuple[type[DomainEvent], ...]
    queue: str
    react: Callable[[Received[Any]], None] | None = None
    react_many: ReactionToMany | None = None
    on_give_up: Callable[[Received[Any], Failure], None] | None = None
    outside: bool = False
    retry: Retry = field(default=PATIENT)
    lease: timedelta | None = None
    start_at: StartAt = StartAt.NOW
    max_open_deliveries: int | None = None
    at_once: int | None = None
    configured: bool = False

    @cached_property
    def events(self) -> dict[str, type[DomainEvent]]:
        """What it reacts to, by type."""
        return {event.type: event for event in (self.event if isinstance(self.event, tuple) else (self.event,))}

    @property
    def task(self) -> str:
        return task_name(self.queue, self.name)


@dataclass(frozen=True)
class Start(Subscription):
    """Starts a saga; the relay does it in bulk, without a delivery."""

    saga: Saga[Any] = field(kw_only=True)


def starts(saga: Saga[Any]) -> Start:
    """Start `saga` on its input event, keyed by the event's key."""
    return Start(f"start-{saga.name}", event=saga.input, queue="sagas", saga=saga)
