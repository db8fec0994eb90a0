"""Events: immutable facts with a stable name.

Pure: a context describes its events with these classes and publishes them with `sagas.log.outbox.emit`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

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


class StoredPayload(Protocol):
    """What a stored event says, and when it happened."""

    @property
    def type(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def data(self) -> Data: ...
    @property
    def occurred_at(self) -> datetime: ...


class StoredEvent(StoredPayload, Protocol):
    """An event as it stands in the log: the row `sagas.models.Event`, for code that knows no table."""

    @property
    def id(self) -> UUID: ...
    @property
    def aggregate(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def correlation_id(self) -> UUID: ...
    @property
    def causation_id(self) -> UUID | None: ...
    @property
    def traceparent(self) -> str: ...
    @property
    def log_position(self) -> int | None: ...


class Compatibility(StrEnum):
    """Who still understands whom, once an event has a new version."""

    BACKWARD = "backward"  #: today's readers read what was written before
    FORWARD = "forward"  #: readers of before read what is written today
    FULL = "full"  #: both


class IntegrationEvent(DomainEvent):
    """A fact that others build on: its shape is a contract, committed beside its context.

    See docs/contracts.md for what may change, and `manage.py events check` for what did.
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
