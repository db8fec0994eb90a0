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


class ToldState(State):
    """The messages about an order at one moment, in the order in which they were queued."""

    messages: tuple[MessageState, ...] = ()


def _queued(told: ToldState, event: NotificationQueued, at: datetime) -> ToldState:
    message = MessageState(notification_id=event.notification_id, kind=event.kind, channel=event.channel, queued_at=at)
    return told.model_copy(update={"messages": (*told.messages, message)})


def _sent(told: ToldState, event: NotificationSent, at: datetime) -> ToldState:
    changed = tuple(
        # The first sending counts, as in the row.
        message.model_copy(update={"status": "sent", "sent_at": message.sent_at or at})
        if message.notification_id == event.notification_id
        else message
        for message in told.messages
    )
    return told.model_copy(update={"messages": changed})


TOLD = Fold(
    name="told",
    start=ToldState(),
    rules=(when(NotificationQueued, _queued), when(NotificationSent, _sent)),
)
