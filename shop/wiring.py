"""The wiring diagram: event type → reactions. Contexts publish; who reacts to what stands here and nowhere else."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from django.conf import settings

from notifications import services as notifications
from notifications.events import NotificationQueued
from sagas.subscriptions import Received, Subscription, starts

from .outward import receivers, streams, webhooks
from .outward.receivers import Stream, Webhook
from .processes.fulfil_order import fulfil_order


def send_notification(received: Received[NotificationQueued]) -> None:
    notifications.send(notification_id=received.event.notification_id, now=received.now)


def send_notifications(received: Sequence[Received[NotificationQueued]]) -> set[UUID]:
    sent = notifications.send_many([each.event.notification_id for each in received], now=received[0].now)
    return {each.event_id for each in received if each.event.notification_id in sent}


def to_webhook(webhook: Webhook) -> Subscription:
    return Subscription(
        f"webhook-{webhook.name}",
        event=receivers.events_for("WEBHOOKS", webhook),
        queue="outward",
        react=webhooks.poster(webhook),
        many=webhooks.posters(webhook),
        outside=True,
        retry=receivers.RETRY,
        lease=receivers.LEASE,
        most_owed=receivers.MOST_OWED,
        begin=webhook.begin,
        configured=True,
    )


def to_stream(stream: Stream) -> Subscription:
    return Subscription(
        f"stream-{stream.name}",
        event=receivers.events_for("STREAMS", stream),
        queue="outward",
        react=streams.adder(stream),
        many=streams.adders(stream),
        outside=True,
        retry=receivers.RETRY,
        lease=receivers.LEASE,
        most_owed=receivers.MOST_OWED,
        begin=stream.begin,
        configured=True,
    )


def configured() -> Iterator[Subscription]:
    yield from map(to_webhook, settings.WEBHOOKS)
    yield from map(to_stream, settings.STREAMS)


WIRING = (
    # orders.order_placed →
    starts(fulfil_order),
    # notifications.notification_queued →
    Subscription(
        "send-notification",
        event=NotificationQueued,
        queue="notifications",
        react=send_notification,
        many=send_notifications,
        outside=True,
    ),
    # what the environment says →
    *configured(),
)
