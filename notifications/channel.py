"""What the shop asks of a way to reach people; `channels/` holds the ways."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from .models import Notification


class Channel(Protocol):
    """A way a message can leave."""

    def send(self, notifications: Sequence[Notification]) -> Mapping[UUID, Exception | None]:
        """Send what can be sent within some seconds; return by id None for what left, else why it did not.

        Why: `ChannelDown`, it may leave later; whatever a template raised. What is missing was not tried. A repeat
            carries
        the same message id, so that the receiver can tell.
        """
