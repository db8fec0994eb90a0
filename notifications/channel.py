"""The protocol of channels, by which messages leave; `channels/` has the implementations."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from .models import Notification


class Channel(Protocol):
    """A channel by which messages leave."""

    def send(self, notifications: Sequence[Notification]) -> Mapping[UUID, Exception | None]:
        """Send the messages that can be sent within some seconds; return for each None, or the exception, by id.

        Exceptions: `ChannelDown`, it may leave later; any exception of a template. A message without an entry was not
            tried. A repeat has the same message id, so that the receiver can recognize it.
        """
