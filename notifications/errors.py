"""How telling people fails."""

from sagas.core.errors import Retryable


class ChannelDown(Retryable):
    """The mail server cannot be reached or refuses for now."""
