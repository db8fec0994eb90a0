"""The entries of a timeline."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from backoffice.money import formatted
from sagas.operations.queries import Event

from .words import words

EntryKind = Literal[
    "event", "step", "undo", "attempt", "run", "payment", "reservation", "notification", "delivery", "intervention"
]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a timeline.

    Attributes:
        status: its outcome, a term of the glossary; a failed attempt has the kind of its failure.
        detail: one line for people.
        duration_seconds: how long it took; None for an entry without duration, or one that is not over.
        data: everything else, as JSON values.
        next_try_at: time of the next try, while it waits for one.
    """

    at: datetime
    kind: EntryKind
    title: str
    status: str
    detail: str = ""
    duration_seconds: float | None = None
    data: dict[str, Any] = field(default_factory=dict)
    next_try_at: datetime | None = None


def event_entry(event: Event) -> Entry:
    return Entry(
        at=event.occurred_at,
        kind="event",
        title=words(event.type.partition(".")[2] or event.type),
        status="recorded" if event.relayed_at is None else "relayed",
        detail=_gist(event.data),
        data={"position": event.position, "id": str(event.id), "type": event.type, "data": event.data},
    )


def _gist(data: dict[str, Any]) -> str:
    """Return the most important field of an event."""
    if "reason" in data:
        return str(data["reason"])
    if "tracking_number" in data:
        return f"tracking number {data['tracking_number']}"
    amount = data.get("amount_minor", data.get("total_minor"))
    return formatted(amount, data["currency"]) if isinstance(amount, int) and "currency" in data else ""
