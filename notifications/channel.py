"""What the shop asks of a way to reach people; `channels/` holds the ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from .models import Notification


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A message as its recipient gets it."""

    sender: str
    subject: str
    text: str
    html: str


class Channel(Protocol):
    """A way a message can leave."""

    def render(self, notification: Notification) -> Rendered:
        """Return what the recipient gets; it sends nothing.

        Raises:
            NotRendered: a template cannot be filled.
        """

    def send(self, notifications: Sequence[Notification]) -> Mapping[UUID, Exception | None]:
        """Send what can be sent within some seconds; return by id None for what left, else why it did not.

        Why: `ChannelDown`, it may leave later; `NotRendered`. What is missing was not tried. A repeat carries the same
        message id, so that the receiver can tell.
        """
