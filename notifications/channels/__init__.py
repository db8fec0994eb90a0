"""The channels of notifications, behind one protocol."""

from collections.abc import Mapping

from ..channel import Channel
from ..models import Notification
from .email import EmailChannel

CHANNELS: Mapping[str, Channel] = {Notification.Channel.EMAIL: EmailChannel()}
