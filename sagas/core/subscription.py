"""The definition of a reaction to an event: its name, its queue, and how often it is tried."""

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
    """The argument of a reaction.

    Attributes:
        event: the event, as the current code reads it.
        stored: the row of the log, for a reaction that forwards it as it was written.
        idempotency_key: the same in every try; a replay has another one.
    """

    event: E
    event_id: UUID
    stored: StoredEvent
    idempotency_key: str
    attempt: int
    now: datetime


#: The form of a reaction that takes many events at once. It returns an outcome for each, by `Received.event_id`: an
#: exception means that this reaction failed, any other value is not used. An event without an outcome gets a single
#: call.
ReactionToMany = Callable[[Sequence[Received[Any]]], Mapping[UUID, object]]


class StartAt(StrEnum):
    """Which events a new subscription gets."""

    NOW = "now"  #: events written after its first deploy
    BEGINNING = "beginning"  #: all events of the log


@dataclass(frozen=True)
class Subscription:
    """A named reaction to one or several event types; it gets the events of a key in their order.

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
        on_give_up: writes the consequences of giving up, in the transaction that ends the delivery as failed.
        retry: when a failed try is made again, and how often.
        lease: how long one try outside may take before another worker takes it over; by default the setting
            `SAGAS_LEASE_SECONDS`.
        start_at: which events a new subscription gets.
        max_open_deliveries: with this many open deliveries it gets no more: it falls behind in the log, and the log
            keeps the rest. None: no limit.
        at_once: outside, the maximum number of its messages that are worked on at the same time, so that a slow
            receiver holds no more workers. None: as many as there are workers.
        configured: it comes from the environment of a process, not from the code; the committed catalogue leaves it
            out.
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
        """The events it reacts to, by type."""
        return {event.type: event for event in (self.event if isinstance(self.event, tuple) else (self.event,))}

    @property
    def task(self) -> str:
        return task_name(self.queue, self.name)


@dataclass(frozen=True)
class Start(Subscription):
    """Starts a saga; the relay starts runs in batches, without deliveries."""

    saga: Saga[Any] = field(kw_only=True)


def starts(saga: Saga[Any]) -> Start:
    """Start `saga` on its input event, keyed by the event's key."""
    return Start(f"start-{saga.name}", event=saga.input, queue="sagas", saga=saga)
