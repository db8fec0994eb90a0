"""The cause of the current work; the outbox writes it into every event."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from structlog.contextvars import bound_contextvars

from .events import DomainEvent


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The cause of the current work; stored with every event and run it leads to.

    Attributes:
        low_priority: low-priority work, such as that of an import: interactive work goes first.
    """

    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str = ""
    low_priority: bool = False


_cause: ContextVar[Cause] = ContextVar("cause", default=Cause())  # noqa: B039 - frozen
#: In a batch: the cause of the events of each key.
_causes: ContextVar[Mapping[str, Cause] | None] = ContextVar("causes", default=None)


def cause_of(event: DomainEvent) -> Cause:
    """Return the cause of an event that is emitted now.

    Raises:
        LookupError: a batch emits an event with a key that none of its members has.
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
    """Inside, make `cause` the cause of every emitted event, and add its correlation id to every log line."""
    token, former = _cause.set(cause), _causes.set(None)
    try:
        with bound_contextvars(correlation_id=str(cause.correlation_id)):
            yield
    finally:
        _causes.reset(former)
        _cause.reset(token)


@contextmanager
def caused_by_each(causes: Mapping[str, Cause]) -> Iterator[None]:
    """As `caused_by`, for a batch: the key of an event selects its cause."""
    token = _causes.set(causes)
    try:
        yield
    finally:
        _causes.reset(token)
