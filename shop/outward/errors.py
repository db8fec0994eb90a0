"""Reasons why an event did not reach its receiver."""

from sagas.core.errors import Rejected, Retryable


class ReceiverGone(Rejected):
    """The receiver is gone for good: a person decides about its deliveries."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} says that it is gone (410 Gone)")


class ReceiverAway(Retryable):
    """The receiver could not be reached, or did not answer in time."""


class ReceiverRefused(Retryable):
    """The receiver answered, and did not take the event."""
