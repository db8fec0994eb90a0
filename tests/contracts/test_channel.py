"""What every way to reach people must do: say all of it, safely, under one id, and say when it could not."""

from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from pytest_django import Settings

from notifications.channel import Channel
from notifications.channels.email import EmailChannel
from notifications.errors import ChannelDown
from notifications.events import NotificationKind
from notifications.models import Notification
from sagas.core.outcomes import only

CHANNELS: list[Callable[[], Channel]] = [EmailChannel]
ID = UUID("01890000-0000-7000-8000-000000000001")
CONTEXT: dict[str, Any] = {
    "number": "S100001",
    "name": "Ada Lovelace",
    "total": "£45.00",
    "lines": [{"quantity": 2, "name": "Mug", "total": "£20.00"}, {"quantity": 1, "name": "Tray", "total": "£25.00"}],
    "tracking_number": "PX1",
    "reason": "Your card was declined.",
}


@pytest.fixture(params=CHANNELS, ids=lambda channel: channel.__name__)
def channel(request: pytest.FixtureRequest) -> Channel:
    made: Channel = request.param()
    return made


def notification(
    kind: NotificationKind = NotificationKind.ORDER_CONFIRMED, recipient: str = "ada@example.com", **context: Any
) -> Notification:
    return Notification(
        id=ID,
        order_id=UUID(int=1),
        kind=kind,
        recipient=recipient,
        context=CONTEXT | context,
        queued_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def send(channel: Channel, message: Notification) -> None:
    """Send one message; raise why it did not leave."""
    only({pk: error or pk for pk, error in channel.send([message]).items()})


def arrived() -> EmailMessage:
    """Return the last mail as its reader gets it: made into bytes and read again."""
    read = message_from_bytes(mail.outbox[-1].message().as_bytes(), policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def part(kind: str) -> str:
    body = arrived().get_body((kind,))
    assert body is not None
    return str(body.get_content())


@pytest.mark.parametrize(
    ("kind", "subject", "said"),
    [
        (
            NotificationKind.ORDER_CONFIRMED,
            "Your order S100001 is on its way",
            ["Hello Ada Lovelace,", "S100001", "PX1", "Mug", "£20.00", "Tray", "£25.00", "£45.00"],
        ),
        (
            NotificationKind.ORDER_REJECTED,
            "We could not take your order S100001",
            ["Hello Ada Lovelace,", "S100001", "£45.00", "Your card was declined.", "You have not been charged."],
        ),
        (
            NotificationKind.ORDER_CANCELLED,
            "Your order S100001 was cancelled",
            [
                "Hello Ada Lovelace,",
                "S100001",
                "£45.00",
                "cancelled: Your card was declined.",
                "You have not been charged.",
            ],
        ),
    ],
)
def test_every_kind_says_the_same_in_text_and_in_html(
    channel: Channel, kind: NotificationKind, subject: str, said: list[str]
) -> None:
    send(channel, notification(kind))
    message = arrived()
    assert message["Subject"] == subject
    assert message["To"] == "ada@example.com"
    assert message["From"] == django_settings.DEFAULT_FROM_EMAIL
    assert message.get_content_type() == "multipart/alternative"
    assert [each.get_content_type() for each in message.iter_parts()] == ["text/plain", "text/html"]
    for words in said:
        assert words in part("plain")
        assert words in part("html")


@pytest.mark.parametrize("kind", [NotificationKind.ORDER_REJECTED, NotificationKind.ORDER_CANCELLED])
@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({}, "You have not been charged."),
        (
            {"refunded": "£45.00"},
            "We have given back your payment of £45.00; your bank may need some days to show it.",
        ),
        ({"kept": "£45.00"}, "Please write to us about your payment of £45.00."),
    ],
)
def test_a_customer_reads_what_became_of_the_money(
    channel: Channel, kind: NotificationKind, context: dict[str, str], said: str
) -> None:
    send(channel, notification(kind, **context))
    assert said in part("plain")
    assert said in part("html")
    assert "Nothing was charged" not in part("plain")


def test_there_is_a_message_for_every_kind(channel: Channel) -> None:
    for kind in NotificationKind:
        send(channel, notification(kind))
    assert len(mail.outbox) == len(NotificationKind)


def test_a_repeat_carries_the_same_message_id(channel: Channel) -> None:
    send(channel, notification())
    first = arrived()["Message-ID"]
    send(channel, notification())
    assert first == arrived()["Message-ID"] == f"<{ID}@shop>"


@pytest.mark.parametrize("kind", list(NotificationKind))
@pytest.mark.parametrize("field", ["name", "number", "reason", "tracking_number"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_no_header_gets_in_by_a_new_line(channel: Channel, kind: NotificationKind, field: str, end: str) -> None:
    send(channel, notification(kind))
    usual = arrived().keys()
    send(channel, notification(kind, **{field: f"Eve{end}Bcc: victim@example.com{end}{end}Buy this"}))
    message = arrived()
    assert message.keys() == usual
    assert "Bcc" not in message
    assert mail.outbox[-1].recipients() == ["ada@example.com"]


@pytest.mark.parametrize("recipient", ["a@b.example\nBcc: victim@example.com", "a@b.example\r\n\r\nBuy this"])
def test_no_mail_leaves_for_a_recipient_with_a_new_line(channel: Channel, recipient: str) -> None:
    with pytest.raises(ValueError, match="newlines"):
        send(channel, notification(recipient=recipient))
    assert mail.outbox == []


def test_what_people_wrote_is_escaped_in_html_and_plain_in_text(channel: Channel) -> None:
    name, product = "<script>alert('x')</script> & Söns 🎁", 'Mug "large" <b>'
    send(channel, notification(name=name, lines=[{"quantity": 1, "name": product, "total": "£1"}]))
    assert f"Hello {name}," in part("plain")
    assert f"1 x {product}  £1" in part("plain")
    assert "<script>" not in part("html")
    assert "<b>" not in part("html")
    assert "Hello &lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; Söns 🎁," in part("html")
    assert "Mug &quot;large&quot; &lt;b&gt;" in part("html")


def test_the_reason_of_a_refusal_is_escaped_too(channel: Channel) -> None:
    send(channel, notification(NotificationKind.ORDER_REJECTED, reason="A & B <i> are out of stock"))
    assert "A & B <i> are out of stock" in part("plain")
    assert "A &amp; B &lt;i&gt; are out of stock" in part("html")


@pytest.mark.parametrize("subject_of", list(NotificationKind))
def test_a_subject_is_plain_text(channel: Channel, subject_of: NotificationKind) -> None:
    send(channel, notification(subject_of, number="S1 & <2>"))
    assert arrived()["Subject"].endswith(("S1 & <2>", "S1 & <2> is on its way", "S1 & <2> was cancelled"))


def test_a_parcel_without_a_number_is_not_named(channel: Channel) -> None:
    send(channel, notification(tracking_number=""))
    assert "It is on its way.\n" in part("plain")
    assert "It is on its way.</p>" in part("html")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "ConnectionRefusedError: [Errno 111] Connection refused"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (SMTPServerDisconnected("gone"), "SMTPServerDisconnected: gone"),
        (
            SMTPRecipientsRefused({"ada@example.com": (450, b"later")}),
            "SMTPRecipientsRefused: {'ada@example.com': (450, b'later')}",
        ),
    ],
)
def test_a_server_that_does_not_take_the_mail_is_a_channel_that_is_down(
    channel: Channel, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(self: EmailBackend, messages: object) -> int:
        raise error

    monkeypatch.setattr(EmailBackend, "send_messages", fail)
    with pytest.raises(ChannelDown) as raised:
        send(channel, notification())
    assert str(raised.value) == message
    assert raised.value.__cause__ is error


def test_a_real_server_that_is_not_there_is_a_channel_that_is_down(channel: Channel, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    with pytest.raises(ChannelDown, match="ConnectionRefusedError"):
        send(channel, notification())
