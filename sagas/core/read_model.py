"""The definition of a read model: the events it follows, and the function that applies them."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

from .events import DomainEvent


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An event of the log, as the current code reads it."""

    event: DomainEvent
    event_id: UUID
    key: str
    log_position: int
    occurred_at: datetime


Difference = tuple[int, int]


class Store(Protocol):
    """The store of a read model outside PostgreSQL. `shadow`: the copy that a rebuild makes."""

    def position(self, *, shadow: bool) -> int:
        """Return the position up to which it contains the log; 0 if its data was lost."""

    def apply(self, events: Sequence[Recorded], *, position: int, shadow: bool) -> None:
        """Apply events, and store the position with them; it may have applied them before."""

    def create_shadow(self) -> None:
        """Make an empty shadow, and remove one that was made before."""

    def drop(self) -> None:
        """Remove the shadow, and the rest of former copies."""

    def compare(self) -> Difference:
        """Return how many entries only the old copy has, and how many only the new one."""

    def swap(self) -> None:
        """Make the shadow the copy that serves; idempotent."""


@dataclass(frozen=True)
class ReadModel:
    """Tables that `apply` makes from events, or a `store` elsewhere.

    `apply` runs in the transaction that moves the position. It gets events in the order of the log, works in sets, and
    names no schema. It reads no other table but the log (`queries.latest_events`): at the time of a rebuild the others
    have changed.
    """

    name: str
    _: KW_ONLY
    events: tuple[type[DomainEvent], ...]
    tables: tuple[type[Any], ...] = ()
    apply: Callable[[Sequence[Recorded]], None] = lambda _: None
    store: Store | None = None

    @cached_property
    def types(self) -> dict[str, type[DomainEvent]]:
        return {event.type: event for event in self.events}

    @property
    def schema(self) -> str:
        return f"rebuild_{self.name.replace('-', '_')}"

    @property
    def shadow_name(self) -> str:
        """Name of the follower of a rebuild."""
        return f"{self.name}:rebuild"
