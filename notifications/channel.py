"""What the shop asks of a way to reach people; `channels/` holds the ways."""

from collections.abc import Sequence
from typing import Protocol

from .models import Notification


class Channel(Protocol):
    """A way a message can leave."""

    def send(self, notification: Notification) -> None:
        """Send it; a repeat carries the same message id, so that the receiver can tell.

        Raises:
            ChannelDown: it did not leave; try again later.
        """

    def send_many(self, notifications: Sequence[Notification]) -> list[Notification]:
        """Send what can be sent within some seconds, as `send` does; return what left."""
