"""The protocol of channels, by which messages leave; `channels/` has the implementations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from .models import Notification


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A rendered message."""

    sender: str
    subject: str
    text: str
    html: str


class Channel(Protocol):
    """A channel by which messages leave."""

    def render(self, notification: Notification) -> Rendered:
        """Return the message as its recipient gets it; it sends nothing.

        Raises:
            NotRendered: a template cannot be filled.
        """

    def send(self, notifications: Sequence[Notification]) -> Mapping[UUID, Exception | None]:
        """Send the messages that can be sent within some seconds; return for each None, or the exception, by id.

        Exceptions: `ChannelDown`, it may leave later; `NotRendered`. A message without an entry was not tried. A repeat
        has the same message id, so that the receiver can recognize it.
        """
