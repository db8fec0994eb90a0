"""The kinds of failure: the class of an exception decides what the engine does, never its text."""

from datetime import datetime
from enum import StrEnum


class FailureKind(StrEnum):
    """Why an attempt did not succeed."""

    REJECTED = "rejected"  #: a business refusal: undo now
    RETRYABLE = "retryable"  #: it had no effect and may work later
    UNKNOWN = "unknown"  #: the call left and no answer came: probe before anything else
    UNEXPECTED = "unexpected"  #: a bug or an outage: as retryable inside, as unknown outside
    CANCELLED = "cancelled"  #: a person cancelled it
    UNDONE = "undone"  #: a person started the undo


class Rejected(Exception):  # noqa: N818 - an outcome, not a bug
    """A business refusal: nothing took effect, and another try would not help."""


class Retryable(Exception):  # noqa: N818
    """The try failed without an effect; it may work later.

    Args:
        retry_after_seconds: the pause that the other side asked for; overrides the step's backoff.
    """

    #: Also of a subclass that does not call this class's `__init__`.
    retry_after_seconds: float | None = None

    def __init__(self, message: str = "", *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        # A header's text fails here, in the try, and not where the engine writes the outcome of the try.
        self.retry_after_seconds = None if retry_after_seconds is None else float(retry_after_seconds)


class OutcomeUnknown(Exception):  # noqa: N818
    """The call was sent and no answer came: it may or may not have taken effect."""


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
        seconds: its time limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"cut short after {seconds:g} s")
        self.seconds = seconds


class RunOfOtherCodeError(Exception):
    """No process that took the run knows its saga or step: the code that started it is gone."""


class WorkerLostError(Exception):
    """Several tries left no trace: the work kills or stops the worker that takes it."""

    def __init__(self, tries: int) -> None:
        super().__init__(f"{tries} tries left no trace: their worker died, or was stopped")
        self.tries = tries


class NoOutcomeError(Exception):
    """A step or reaction with `run_many` or `react_many` returned no outcome for its only call."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} returned no outcome for its only call")


class TransactionRequiredError(Exception):
    """A function that needs its caller's transaction was called outside a transaction."""


class TransactionRefusedError(Exception):
    """A function that calls another system was called inside a transaction, where it would wait under row locks."""


class DefinitionError(Exception):
    """A saga or subscription is not well formed; found at start-up by the system checks."""


class UnreadableEventError(Exception):
    """A stored event that the current code cannot read, so the state after it and after all later events is unknown."""

    def __init__(self, event_type: str, version: int, occurred_at: datetime) -> None:
        super().__init__(
            f"the event {event_type}, version {version}, of {occurred_at:%Y-%m-%d %H:%M:%S} UTC cannot be read"
        )
        self.event_type, self.version, self.occurred_at = event_type, version, occurred_at


class KeyIsBusy(Retryable):
    """An event has to wait before it starts a run: its key has an open run of that saga."""

    def __init__(self, saga: str, key: str) -> None:
        super().__init__(f"{key} has an open run of {saga}; this event starts another when that has ended")


class UnknownSagaError(LookupError):
    """No saga of this name is registered in this process."""


def kind_of(error: BaseException, *, outside: bool) -> FailureKind:
    """Return the kind of an exception; after an unforeseen one, a call outside may have taken effect."""
    match error:
        case Rejected():
            return FailureKind.REJECTED
        case Retryable():
            return FailureKind.RETRYABLE
        case OutcomeUnknown():
            return FailureKind.UNKNOWN
        case _:
            return FailureKind.UNKNOWN if outside else FailureKind.UNEXPECTED
