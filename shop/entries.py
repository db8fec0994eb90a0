"""What a timeline is made of."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

EntryKind = Literal[
    "event", "step", "undo", "attempt", "run", "payment", "reservation", "notification", "delivery", "intervention"
]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that happened.

    Attributes:
        status: what became of it, in the words of the glossary; a failed attempt has the kind of its failure.
        detail: one line for people.
        duration_seconds: how long it took; None for what happens at a moment, or is not over.
        data: everything else, as JSON values.
        next_try_at: when it will be tried again, while it waits for that.
    """

    at: datetime
    kind: EntryKind
    title: str
    status: str
    detail: str = ""
    duration_seconds: float | None = None
    data: dict[str, Any] = field(default_factory=dict)
    next_try_at: datetime | None = None


def words(name: str) -> str:
    """Return `Capture payment` for `capture-payment`."""
    return name.replace("-", " ").replace("_", " ").capitalize()


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()
