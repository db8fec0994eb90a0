"""Texts of the story: names for people, counts of tries, and errors."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagas.core.errors import FailureKind
from sagas.core.retry import Retry
from sagas.core.statuses import DeliveryStatus, StepStatus
from sagas.operations.queries import Delivery, StepRun

#: The meaning of a failure, for readers who may not see the error itself.
_MEANINGS = {
    FailureKind.UNKNOWN: "No answer came; it may or may not have been done.",
    FailureKind.UNDONE: "Our staff decided so.",
}
_ELSE = "Something on our side did not work."


@dataclass(frozen=True, kw_only=True)
class Audience:
    """The readers of a story.

    Attributes:
        tell: returns the text of a failure, from its kind, the name of the error and its message.
        is_staff: also gets what waits for a person, and why.
    """

    tell: Callable[[str, str, str], str]
    is_staff: bool


def _in_full(_kind: str, error: str, message: str) -> str:
    return message or error


def _guarded(kind: str, _error: str, message: str) -> str:
    """Return a text without the messages of unforeseen errors, which may hold anything."""
    if kind in (FailureKind.REJECTED, FailureKind.RETRYABLE, FailureKind.CANCELLED):
        return message
    return next((text for known, text in _MEANINGS.items() if kind == known), _ELSE)


STAFF = Audience(tell=_in_full, is_staff=True)
CLIENTS = Audience(tell=_guarded, is_staff=False)


def words(name: str) -> str:
    """Return `Capture payment` for `capture-payment`."""
    return name.replace("-", " ").replace("_", " ").capitalize()


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def waits(row: StepRun) -> bool:
    """Say whether a step failed and waits for its next try; with a lease it is under way."""
    open_ = row.status in (StepStatus.PENDING, StepStatus.UNKNOWN)
    return open_ and row.held_until is not None and row.lease_token is None


def is_retried(delivery: Delivery) -> bool:
    return delivery.status == DeliveryStatus.PENDING and delivery.retry_at is not None


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def tries_of(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"


def at_most(policy: Retry | None) -> str:
    return "" if policy is None else f" of at most {policy.attempts}"


def ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def quoted(why: dict[str, Any] | None, to: Audience) -> str:
    return "" if why is None else ended(to.tell(why["kind"], why["error"], why["message"]))


def error_of(delivery: Delivery, to: Audience) -> str:
    """Return the error of the last try; an event that could not be read had no try."""
    tries = list(delivery.tries.all())
    if tries and tries[-1].message:
        return to.tell(tries[-1].kind, tries[-1].error, tries[-1].message)
    return to.tell(FailureKind.UNEXPECTED, "", delivery.error)


def listed(result: dict[str, Any] | None) -> list[str]:
    """Return the result of a step, without ids: they are in the data."""
    shown = {name: value for name, value in (result or {}).items() if not name.endswith("_id")}
    return [f"{name.replace('_', ' ')}: {value}" for name, value in shown.items()]
