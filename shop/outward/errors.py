"""Why an event did not reach its receiver."""

from sagas.core.errors import Rejected, Retryable


class ReceiverGone(Rejected):
    """It says that it is gone for good: a person decides what becomes of what it is owed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} says that it is gone (410 Gone)")


class ReceiverAway(Retryable):
    """It could not be reached, or did not answer in time."""


class ReceiverRefused(Retryable):
    """It answered, and did not take the event."""
