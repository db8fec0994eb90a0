"""Events as contexts see them: immutable facts with a stable name, and what caused them.

Pure: a context describes its events here and publishes them with `sagas.outbox.emit`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from structlog.contextvars import bound_contextvars

#: What an event says, as JSON has it.
Data = dict[str, Any]


class DomainEvent(BaseModel):
    """A fact inside a context, named in the past tense; the fields of the subclass are the payload.

    Readers ignore fields they do not know, so that a writer may add some. A domain event belongs to its context, and
    nobody else reacts to it; what others may rely on is an `IntegrationEvent`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Name on the wire, `context.past_tense`; never changes.
    type: ClassVar[str]
    #: Goes up with each change of the payload's shape.
    version: ClassVar[int] = 1
    #: Version → what lifts a payload of that version to the next; a version that needs none has none.
    upcasters: ClassVar[Mapping[int, Callable[[Data], Data]]] = {}
    #: What kind of thing it happened to.
    aggregate: ClassVar[str]

    @property
    def subject_id(self) -> str:
        """The id of the thing it happened to."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """What order is kept by; an order's id in this shop, the subject unless told otherwise."""
        return self.subject_id

    @classmethod
    def read(cls, data: Data, *, version: int) -> Self:
        """Return the event a stored payload stands for, lifted to today's version.

        A version newer than this code's (rolling deploy) is read as it is: what is not known is ignored.

        Raises:
            pydantic.ValidationError: the payload is not readable by this version of the code.
        """
        return cls.model_validate(cls.lifted(data, version=version))

    @classmethod
    def lifted(cls, data: Data, *, version: int) -> Data:
        """Return a payload of an older version as today's code would have written it."""
        for number in range(version, cls.version):
            if number in cls.upcasters:
                data = cls.upcasters[number](dict(data))
        return data


class Compatibility(StrEnum):
    """Who still understands whom, once an event has a new version."""

    BACKWARD = "backward"  #: today's readers read what was written before
    FORWARD = "forward"  #: readers of before read what is written today
    FULL = "full"  #: both


class IntegrationEvent(DomainEvent):
    """A fact that others build on: its shape is a contract, committed beside its context.

    See docs/events.md for what may change, and `manage.py events check` for what did.
    """

    compatibility: ClassVar[Compatibility] = Compatibility.FULL
    #: What such an event says, for people and for tests.
    example: ClassVar[Data]
    #: The event that this one takes the place of; both are published until the last reader has moved.
    replaces: ClassVar[type["IntegrationEvent"] | None] = None


def known_events() -> list[type[DomainEvent]]:
    """Return every event this process has a class for, by type."""
    classes, found = [DomainEvent], {}
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if "type" in cls.__dict__:
            found[cls.type] = cls
    return [found[name] for name in sorted(found)]


def known_types() -> list[str]:
    """Return the types of every event this process has a class for."""
    return [event.type for event in known_events()]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Where the work under way came from; stored with every event and run it leads to.

    Attributes:
        low_priority: one of many that nobody sits and waits for, such as the orders of an import: it yields to what somebody
            does wait for.
    """

    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str = ""
    low_priority: bool = False


_cause: ContextVar[Cause] = ContextVar("cause", default=Cause())  # noqa: B039 - frozen
#: In a batch: the cause of each key's events.
_causes: ContextVar[Mapping[str, Cause] | None] = ContextVar("causes", default=None)


def current_cause() -> Cause:
    return _cause.get()


def cause_of(event: DomainEvent) -> Cause:
    """Return where an event emitted now comes from.

    Raises:
        LookupError: a batch emits an event of a key none of its members has.
    """
    causes = _causes.get()
    if causes is None:
        return _cause.get()
    try:
        return causes[event.key]
    except KeyError:
        raise LookupError(f"{event.type} of {event.key!r} belongs to none of the batch that emits it") from None


@contextmanager
def caused_by(cause: Cause) -> Iterator[None]:
    """Make `cause` the origin of every event emitted, and its correlation id part of every line logged, inside."""
    token, former = _cause.set(cause), _causes.set(None)
    try:
        with bound_contextvars(correlation_id=str(cause.correlation_id)):
            yield
    finally:
        _causes.reset(former)
        _cause.reset(token)


@contextmanager
def caused_by_each(causes: Mapping[str, Cause]) -> Iterator[None]:
    """As `caused_by`, for a batch: the key of an event says whose it is."""
    token = _causes.set(causes)
    try:
        yield
    finally:
        _causes.reset(token)
