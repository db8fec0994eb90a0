"""Events: immutable facts with a stable name.

Pure: a context describes its events with these classes and publishes them with `sagas.log.outbox.emit`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

#: The payload of an event, as JSON values.
Data = dict[str, Any]


class DomainEvent(BaseModel):
    """A fact inside a context, named in the past tense; the fields of the subclass are the payload.

    Readers ignore fields they do not know, so that a writer may add fields. A domain event belongs to its context, and
    no other context reacts to it; other contexts rely on an `IntegrationEvent`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Name on the wire, `context.past_tense`; never changes.
    type: ClassVar[str]
    #: Increases with each change of the payload's shape.
    version: ClassVar[int] = 1
    #: Version → function that lifts a payload of that version to the next; a version that needs none is missing.
    upcasters: ClassVar[Mapping[int, Callable[[Data], Data]]] = {}
    #: The kind of its subject.
    aggregate: ClassVar[str]

    @property
    def subject_id(self) -> str:
        """The id of its subject."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """The key: events of one key stay in order. By default the subject."""
        return self.subject_id

    @classmethod
    def read(cls, data: Data, *, version: int) -> Self:
        """Return the event of a stored payload, lifted to the current version.

        A version newer than this code's (rolling deploy) is read as it is: unknown fields are ignored.

        Raises:
            pydantic.ValidationError: the payload is not readable by this version of the code.
        """
        return cls.model_validate(cls.lifted(data, version=version))

    @classmethod
    def lifted(cls, data: Data, *, version: int) -> Data:
        """Return a payload of an older version, lifted to the current one."""
        for number in range(version, cls.version):
            if number in cls.upcasters:
                data = cls.upcasters[number](dict(data))
        return data


class StoredPayload(Protocol):
    """The payload of a stored event, and its time."""

    @property
    def type(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def data(self) -> Data: ...
    @property
    def occurred_at(self) -> datetime: ...


class StoredEvent(StoredPayload, Protocol):
    """An event of the log: the row `sagas.models.Event`, for code that does not import models."""

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
    """Which side still understands the other once an event has a new version."""

    BACKWARD = "backward"  #: new readers read old events
    FORWARD = "forward"  #: old readers read new events
    FULL = "full"  #: both


class IntegrationEvent(DomainEvent):
    """A fact that other contexts rely on: its shape is a contract, committed beside its context.

    docs/contracts.md says what may change; `manage.py events check` shows what did change.
    """

    compatibility: ClassVar[Compatibility] = Compatibility.FULL
    #: An example of its fields, for people and for tests.
    example: ClassVar[Data]
    #: The event that this one replaces; both are published until the last reader has moved.
    replaces: ClassVar[type["IntegrationEvent"] | None] = None


def known_events() -> list[type[DomainEvent]]:
    """Return the class of every event this process knows, by type."""
    classes, found = [DomainEvent], {}
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if "type" in cls.__dict__:
            found[cls.type] = cls
    return [found[name] for name in sorted(found)]


def known_types() -> list[str]:
    """Return the types of all events this process knows."""
    return [event.type for event in known_events()]
