"""What happens to messages."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sagas.events import DomainEvent


class Kind(StrEnum):
    """What people are told; each kind has its templates."""

    ORDER_CONFIRMED = "order_confirmed"
    ORDER_REJECTED = "order_rejected"
    ORDER_CANCELLED = "order_cancelled"


class _NotificationEvent(DomainEvent):
    aggregate: ClassVar[str] = "notification"

    notification_id: UUID
    order_id: UUID
    kind: str
    channel: str

    @property
    def subject_id(self) -> str:
        return str(self.notification_id)

    @property
    def key(self) -> str:
        return str(self.order_id)


class NotificationQueued(_NotificationEvent):
    """It was decided that a person is told something."""

    type: ClassVar[str] = "notifications.notification_queued"


class NotificationSent(_NotificationEvent):
    """The message left."""

    type: ClassVar[str] = "notifications.notification_sent"
