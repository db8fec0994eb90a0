"""The messages about an order: a fold of their events. Pure.

The events do not have the recipient and the text of a message: these are written once, with the row, and never change.
"""

from datetime import datetime
from uuid import UUID

from sagas.core.folds import Fold, State, when

from .events import NotificationQueued, NotificationSent


class MessageState(State):
    """One message, and its status."""

    notification_id: UUID
    kind: str
    channel: str
    status: str = "queued"
    queued_at: datetime
    sent_at: datetime | None = None


class NotificationsState(State):
    """The messages about an order at one moment, in the order in which they were queued."""

    messages: tuple[MessageState, ...] = ()


def _queued(state: NotificationsState, event: NotificationQueued, at: datetime) -> NotificationsState:
    message = MessageState(notification_id=event.notification_id, kind=event.kind, channel=event.channel, queued_at=at)
    return state.model_copy(update={"messages": (*state.messages, message)})


def _sent(state: NotificationsState, event: NotificationSent, at: datetime) -> NotificationsState:
    changed = tuple(
        # The first sending counts, as in the row.
        message.model_copy(update={"status": "sent", "sent_at": message.sent_at or at})
        if message.notification_id == event.notification_id
        else message
        for message in state.messages
    )
    return state.model_copy(update={"messages": changed})


NOTIFICATIONS = Fold(
    name="notifications",
    start=NotificationsState(),
    rules=(when(NotificationQueued, _queued), when(NotificationSent, _sent)),
)
