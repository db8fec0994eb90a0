"""Events as contexts see them: immutable facts with a stable name, and what caused them.

Pure: a context describes its events here and publishes them with `sagas.outbox.emit`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from structlog.contextvars import bound_contextvars


class DomainEvent(BaseModel):
    """A fact, named in the past tense; the fields of the subclass are the payload.

    Readers ignore fields they do not know, so that a writer may add some.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Name on the wire, `context.past_tense`; never changes.
    type: ClassVar[str]
    version: ClassVar[int] = 1
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
    def read(cls, data: dict[str, Any]) -> Self:
        """Return the event a stored payload stands for.

        Raises:
            pydantic.ValidationError: the payload is not readable by this version of the code.
        """
        return cls.model_validate(data)


def known_types() -> list[str]:
    """Return the types of every event this process has a class for."""
    classes, found = [DomainEvent], set()
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if "type" in cls.__dict__:
            found.add(cls.type)
    return sorted(found)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Where the work under way came from; stored with every event and run it leads to.

    Attributes:
        bulk: one of many that nobody sits and waits for, such as the orders of an import: it yields to what somebody
            does wait for.
    """

    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str = ""
    bulk: bool = False


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
