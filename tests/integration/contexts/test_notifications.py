"""Messages on PostgreSQL: decided once, sent once, noted when they left."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import IntegrityError, transaction

from notifications import selectors
from notifications import services as notifications
from notifications.errors import ChannelDown, NotRendered
from notifications.events import NotificationKind
from notifications.models import Notification
from sagas.models import Event
from tests import one
from tests.asking import emitted
from tests.concurrency import at_once
from tests.constraints import named
from tests.factories.notifications import MessageFactory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ORDER = UUID(int=1)
CONTEXT = {
    "number": "S1",
    "name": "Ada",
    "total": "£20.00",
    "lines": [{"quantity": 2, "name": "Mug", "total": "£20.00"}],
}


def queue(
    kind: NotificationKind = NotificationKind.ORDER_CONFIRMED,
    *,
    order_id: UUID = ORDER,
    now: datetime = NOW,
    **more: Any,
) -> Notification:
    message = MessageFactory.create(order_id=order_id, kind=kind, **{"context": CONTEXT} | more)
    return notifications.queue(message, now=now)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail server refuses connections."""

    def refuse(self: EmailBackend, messages: object) -> int:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)


# queue -----------------------------------------------------------------------------------------------------------


def test_a_message_is_queued_with_its_event(db: None) -> None:
    notification = queue()
    stored = Notification.objects.get()
    assert stored == notification
    assert (stored.order_id, stored.kind, stored.channel, stored.recipient) == (
        ORDER,
        "order_confirmed",
        "email",
        "ada@example.com",
    )
    assert (stored.context, stored.status, stored.queued_at, stored.sent_at) == (CONTEXT, "queued", NOW, None)
    event = Event.objects.get()
    assert (event.type, event.key, event.occurred_at) == ("notifications.notification_queued", str(ORDER), NOW)
    assert event.data == {
        "notification_id": str(notification.id),
        "order_id": str(ORDER),
        "kind": "order_confirmed",
        "channel": "email",
    }
    assert mail.outbox == []


def test_a_repeat_returns_the_message_that_stands(db: None) -> None:
    first = queue()
    again = queue(recipient="eve@example.com", context={}, now=LATER)
    assert (again, again.recipient, again.context) == (first, "ada@example.com", CONTEXT)
    assert emitted("notifications") == ["notification_queued"]


def test_each_kind_and_each_order_has_its_message(db: None) -> None:
    assert len({queue().id, queue(NotificationKind.ORDER_REJECTED).id, queue(order_id=uuid4()).id}) == 3


def test_a_message_is_forgotten_with_the_transaction_that_queued_it(transactional_db: None) -> None:
    with transaction.atomic():
        queue()
        transaction.set_rollback(True)
    assert (Notification.objects.count(), emitted("notifications")) == (0, [])


def test_one_message_queued_by_many_at_once_is_one(transactional_db: None) -> None:
    assert at_once(*[queue] * 5) == [Notification.objects.get()] * 5
    assert emitted("notifications") == ["notification_queued"]


# send ------------------------------------------------------------------------------------------------------------


def test_a_message_leaves_once(db: None) -> None:
    queued = queue()
    for now in (NOW, LATER):
        sent = one.send(notification_id=queued.id, now=now)
        assert (sent.status, sent.sent_at) == ("sent", NOW)
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["ada@example.com"], "Your order S1 is on its way")
    ]
    assert emitted("notifications") == ["notification_queued", "notification_sent"]
    assert Event.objects.latest("position").data["notification_id"] == str(queued.id)


def test_a_message_that_did_not_leave_stays_queued_and_leaves_later(db: None, broken: None) -> None:
    queued = queue()
    with pytest.raises(ChannelDown) as raised:
        one.send(notification_id=queued.id, now=NOW)
    assert str(raised.value) == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert raised.value.retry_after_seconds is None
    queued.refresh_from_db()
    assert (queued.status, queued.sent_at, emitted("notifications"), mail.outbox) == (
        "queued",
        None,
        ["notification_queued"],
        [],
    )


def test_a_message_that_left_and_was_not_noted_leaves_again_under_the_same_id(db: None) -> None:
    queued = queue()
    one.send(notification_id=queued.id, now=NOW)
    Notification.objects.update(status="queued", sent_at=None)  # as after a crash before the commit
    Event.objects.filter(type="notifications.notification_sent").delete()
    one.send(notification_id=queued.id, now=LATER)
    assert [message.extra_headers["Message-ID"] for message in mail.outbox] == [f"<{queued.id}@shop>"] * 2
    assert emitted("notifications") == ["notification_queued", "notification_sent"]


def test_one_message_sent_by_many_at_once_is_noted_once(transactional_db: None) -> None:
    queued = queue()
    at_once(*[lambda: one.send(notification_id=queued.id, now=NOW)] * 4)
    assert Notification.objects.get().status == "sent"
    assert emitted("notifications") == ["notification_queued", "notification_sent"]
    assert {message.extra_headers["Message-ID"] for message in mail.outbox} == {f"<{queued.id}@shop>"}


def test_a_message_that_does_not_exist_cannot_be_sent(db: None) -> None:
    assert notifications.send_many([uuid4()], now=NOW) == {}
    assert (mail.outbox, emitted("notifications")) == ([], [])


def test_the_messages_of_an_order_are_found_in_the_order_they_were_queued(db: None) -> None:
    second = queue(NotificationKind.ORDER_REJECTED, now=LATER)
    first = queue()
    queue(order_id=uuid4())
    assert list(selectors.notifications(ORDER)) == [first, second]


# What the database itself refuses --------------------------------------------------------------------------------


def _copy() -> None:
    notification = Notification.objects.get()
    notification.pk = uuid4()
    notification.save(force_insert=True)


VIOLATIONS: dict[str, list[Callable[[], object]]] = {
    "notifications_one_per_order_kind_and_channel": [_copy],
    "notifications_sent_when_sent": [
        lambda: Notification.objects.update(status="sent"),
        lambda: Notification.objects.update(sent_at=NOW),
        lambda: Notification.objects.update(status="lost"),
    ],
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_database_refuses(db: None, name: str) -> None:
    queue()
    for violate in VIOLATIONS[name]:
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            violate()
    assert list(Notification.objects.values_list("status", "sent_at")) == [("queued", None)]


def test_every_rule_of_the_tables_is_tried() -> None:
    assert named("notifications") - set(VIOLATIONS) == set()


def test_a_message_that_cannot_be_rendered_does_not_double_its_neighbours(
    transactional_db: None, mailoutbox: list[Any]
) -> None:
    good, bad, other = (queue(order_id=uuid4()) for _ in range(3))
    Notification.objects.filter(pk=bad.pk).update(kind="nonsense")
    sent = notifications.send_many([good.pk, bad.pk, other.pk], now=LATER)
    assert {pk for pk, outcome in sent.items() if isinstance(outcome, Notification)} == {good.pk, other.pk}
    refused = sent[bad.pk]
    assert isinstance(refused, NotRendered)
    assert str(refused) == (
        "notifications/nonsense.subject.txt: TemplateDoesNotExist: notifications/nonsense.subject.txt"
    )
    assert len(mailoutbox) == 2
    assert dict(Notification.objects.values_list("pk", "status")) == {
        good.pk: "sent", bad.pk: "queued", other.pk: "sent"
    }  # fmt: skip


def test_an_address_that_no_header_can_hold_does_not_double_its_neighbours(
    transactional_db: None, mailoutbox: list[Any]
) -> None:
    """Django takes the address, whose domain is too long once it is written in ASCII."""
    good, bad, other = (queue(order_id=uuid4()) for _ in range(3))
    Notification.objects.filter(pk=bad.pk).update(recipient=f"ada@ü{'x' * 60}.example")
    sent = notifications.send_many([good.pk, bad.pk, other.pk], now=LATER)
    assert isinstance(sent[bad.pk], UnicodeError)
    assert set(Notification.objects.filter(status="sent").values_list("pk", flat=True)) == {good.pk, other.pk}
    assert len(mailoutbox) == 2
