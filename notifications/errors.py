"""Errors of sending messages."""

from sagas.core.errors import Retryable


class ChannelDown(Retryable):
    """The mail server cannot be reached, or refuses messages for now."""
