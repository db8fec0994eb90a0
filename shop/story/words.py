"""The words of the story: names as people read them, and how often something was tried."""

from datetime import datetime
from typing import Any

from sagas.retry import Retry
from sagas.selectors import Delivery, DeliveryStatus, StepRun, StepStatus


def words(name: str) -> str:
    """Return `Capture payment` for `capture-payment`."""
    return name.replace("-", " ").replace("_", " ").capitalize()


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def called(subscription: str) -> str:
    return words(subscription.removeprefix("then-"))


def waits(row: StepRun) -> bool:
    """Say whether a step failed and waits for its next try; one with a lease is under way."""
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


def quoted(why: dict[str, Any] | None) -> str:
    return "" if why is None else ended(why["message"] or why["error"])


def error_of(delivery: Delivery) -> str:
    """Return what the last try said; an event that could not even be read had none."""
    said = [attempt.message for attempt in delivery.tries.all()]
    return said[-1] if said and said[-1] else delivery.error


def listed(result: dict[str, Any] | None) -> list[str]:
    """Return what a step handed on, but for ids: they stand in the data."""
    shown = {name: value for name, value in (result or {}).items() if not name.endswith("_id")}
    return [f"{name.replace('_', ' ')}: {value}" for name, value in shown.items()]
