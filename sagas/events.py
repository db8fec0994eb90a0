"""Events as contexts see them: immutable facts with a stable name, and what caused them.

Pure: a context describes its events here and publishes them with `sagas.outbox.emit`.
"""

from collections.abc import Iterator
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
    """Where the work under way came from; stored with every event and run it leads to."""

    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str = ""


_cause: ContextVar[Cause] = ContextVar("cause", default=Cause())  # noqa: B039 - frozen


def current_cause() -> Cause:
    return _cause.get()


@contextmanager
def caused_by(cause: Cause) -> Iterator[None]:
    """Make `cause` the origin of every event emitted, and its correlation id part of every line logged, inside."""
    token = _cause.set(cause)
    try:
        with bound_contextvars(correlation_id=str(cause.correlation_id)):
            yield
    finally:
        _cause.reset(token)
