"""The kinds of failure: the class of an exception decides what the engine does, never its text."""

from datetime import datetime
from enum import StrEnum


class FailureKind(StrEnum):
    """Why an attempt did not succeed."""

    REJECTED = "rejected"  #: the business says no: undo now
    RETRYABLE = "retryable"  #: it had no effect and may work later
    UNKNOWN = "unknown"  #: the call left and no answer came: probe before anything else
    UNEXPECTED = "unexpected"  #: a bug or an outage: as retryable inside, as unknown outside
    CANCELLED = "cancelled"  #: a person called it off
    UNDONE = "undone"  #: a person had it undone


class Rejected(Exception):  # noqa: N818 - an outcome, not a bug
    """The business says no; nothing took effect and trying again would not help."""


class Retryable(Exception):  # noqa: N818
    """It did not work and had no effect; it may work later.

    Args:
        retry_after_seconds: what the other side asked for; overrides the step's backoff.
    """

    def __init__(self, message: str = "", *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(Exception):  # noqa: N818
    """The call left and no answer came: it may or may not have taken effect."""


class StepFailed(Exception):  # noqa: N818
    """Raised by a step's Celery task once the failure is in the journal, so that the error callback runs."""

    def __init__(self, run_id: str, step: str, message: str) -> None:
        super().__init__(run_id, step, message)
        self.run_id, self.step, self.message = run_id, step, message

    def __str__(self) -> str:
        return f"run {self.run_id}: step {self.step} failed: {self.message}"


class TryTimedOut(Exception):  # noqa: N818
    """A try took longer than its policy allows and was cut short; a call outside may have taken effect.

    Attributes:
        seconds: how long it was allowed to take.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"cut short after {seconds:g} s")
        self.seconds = seconds


class RunOfOtherCodeError(Exception):
    """No process that took it up knows the saga or step by its name: it was started by code that is gone."""


class WorkerLostError(Exception):
    """Try after try left no trace: the work kills or stops the worker that takes it."""

    def __init__(self, tries: int) -> None:
        super().__init__(f"{tries} tries left no trace: their worker died, or was stopped")


class NoOutcomeError(Exception):
    """A step or reaction that is written for many calls returned no outcome for the only one."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} returned no outcome for its only call")


class TransactionRequiredError(Exception):
    """A function that writes together with its caller was called outside a transaction."""


class TransactionRefusedError(Exception):
    """A function that calls out was called inside a transaction, where its answer would wait under row locks."""


class DefinitionError(Exception):
    """A saga or subscription is not well formed; found at start-up by the system checks."""


class UnreadableEventError(Exception):
    """A stored event that today's code cannot read: what came of it, and so of all behind it, cannot be told."""

    def __init__(self, event_type: str, version: int, occurred_at: datetime) -> None:
        super().__init__(
            f"the event {event_type}, version {version}, of {occurred_at:%Y-%m-%d %H:%M:%S} UTC cannot be read"
        )
        self.event_type, self.version, self.occurred_at = event_type, version, occurred_at


class KeyIsBusy(Retryable):
    """An event that starts a run waits: its key has an open run of that saga."""

    def __init__(self, saga: str, key: str) -> None:
        super().__init__(f"{key} has an open run of {saga}; this event starts another when that has ended")


class UnknownSagaError(LookupError):
    """No saga of this name is registered in this process."""


def kind_of(error: BaseException, *, outside: bool) -> FailureKind:
    """Say what an exception means; an unforeseen one from a call outside may have taken effect."""
    match error:
        case Rejected():
            return FailureKind.REJECTED
        case Retryable():
            return FailureKind.RETRYABLE
        case OutcomeUnknown():
            return FailureKind.UNKNOWN
        case _:
            return FailureKind.UNKNOWN if outside else FailureKind.UNEXPECTED
