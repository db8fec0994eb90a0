"""How a reaction to an event is written down: who reacts, where, and how often it is tried."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from .events import DomainEvent
from .retry import PATIENT, Retry
from .saga import Failure, Saga, task_name

if TYPE_CHECKING:
    from ..models import Event

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
    stored: "Event"
    idempotency_key: str
    attempt: int
    now: datetime


class Begin(StrEnum):
    """Which events a subscription gets that the shop did not have before."""

    NOW = "now"  #: those written from its first deploy on
    BEGINNING = "beginning"  #: all there ever were


@dataclass(frozen=True)
class Subscription:
    """A named reaction to an event type, or to several: then in the order in which they happened to a key.

    *Inside* (the default) the reaction commits together with its delivery, exactly once. *Outside* it runs in no
    transaction and at least once: it must be idempotent by a key of its own.

    A reaction that gives up (rejected, or out of tries) is parked for a person, and the later events of its key behind
    it; unless `gave_up` writes down, in the transaction that ends the delivery, what follows from that.
    """

    name: str
    _: KW_ONLY
    event: type[DomainEvent] | tuple[type[DomainEvent], ...]
    queue: str
    react: Callable[[Received[Any]], None]
    #: The reaction to many at once: returns the ids of the events it surely reacted to; the others are made alone.
    many: Callable[[Sequence[Received[Any]]], Collection[UUID]] | None = None
    on_give_up: Callable[[Received[Any], Failure], None] | None = None
    outside: bool = False
    retry: Retry = field(default=PATIENT)
    lease: timedelta | None = None
    start_at: StartAt = StartAt.NOW
    #: With so many deliveries to do it is owed no more: it falls behind in the log, which keeps the rest for it. None:
    #: it is owed everything at once.
    max_open_deliveries: int | None = None
    #: Stands in the environment of a process, not in the code: the committed catalogue does not list it.
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
    return Start(f"start-{saga.name}", event=saga.input, queue="sagas", react=_start_waiting(saga), saga=saga)


def _start_waiting(saga: Saga[Any]) -> Callable[[Received[Any]], None]:
    def start_waiting(received: Received[Any]) -> None:
        from ..engine import start

        start.start_waiting(saga, received.event_id, now=received.now)

    return start_waiting
