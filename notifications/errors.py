"""Errors of sending messages."""

from sagas.core.errors import Retryable


class ChannelDown(Retryable):
    """The mail server cannot be reached, or refuses messages for now."""


class NotRendered(Exception):  # noqa: N818 - a message that is not rendered
    """A template cannot be rendered with the variables of the message; `place`: the file and the failing tag."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place, self.why = place, why
