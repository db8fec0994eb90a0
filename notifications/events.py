"""Events of messages."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sagas.core.events import Data, DomainEvent, IntegrationEvent


class NotificationKind(StrEnum):
    """The kinds of messages; each has its templates."""

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
    """A message to a customer was queued; its text is in this context's table."""

    type: ClassVar[str] = "notifications.notification_queued"


class NotificationSent(_NotificationEvent, IntegrationEvent):
    """The message left."""

    type: ClassVar[str] = "notifications.notification_sent"
    example: ClassVar[Data] = {
        "notification_id": "01a2133d-0641-7d05-9b1c-5e2f1c7a90bb",
        "order_id": "01a2133d-0634-7601-8156-ed54c8ee7b63",
        "kind": "order_confirmed",
        "channel": "email",
    }
