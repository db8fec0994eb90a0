"""The page of a message shows it as its recipient gets it, and says why where it cannot be rendered."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from notifications import services as notifications
from notifications.errors import NotRendered
from notifications.models import Notification
from tests import one
from tests.factories.notifications import MessageFactory
from tests.factories.people import allowed

CONTEXT = {
    "number": "S1",
    "name": "Söns <script>alert(1)</script>",
    "total": "£20.00",
    "lines": [{"quantity": 2, "name": 'Mug "large"', "total": "£20.00"}],
}


@pytest.fixture
def staff(db: None) -> Client:
    return allowed("notifications.view_notification")


@pytest.fixture
def queued(db: None) -> Notification:
    return notifications.queue(MessageFactory.build(context=CONTEXT), now=timezone.now())


@pytest.fixture
def template(settings: Settings, tmp_path: Path) -> Callable[[str], None]:
    """Put another text in the place of that of a confirmed order."""

    def template(text: str) -> None:
        (tmp_path / "notifications").mkdir()
        (tmp_path / "notifications/order_confirmed.txt").write_text(text)
        settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]

    return template


def page(client: Client, message: Notification) -> str:
    answer = client.get(f"/admin/notifications/notification/{message.pk}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_message_is_shown_as_it_was_sent(staff: Client, queued: Notification) -> None:
    one.send(notification_id=queued.pk, now=timezone.now())
    sent: Any = mail.outbox[0]
    shown = page(staff, queued)
    assert unescape(re.findall(r"<b>(.*?)</b></dd>", shown)[0]) == sent.subject == "Your order S1 is on its way"
    assert unescape(re.findall(r'<pre tabindex="0">(.*?)</pre>', shown, re.DOTALL)[0]) == sent.body
    (html,) = re.findall(r'<iframe title="The message as HTML" sandbox srcdoc="(.*?)">', shown, re.DOTALL)
    assert unescape(html) == sent.alternatives[0].content
    assert "alert(1)</script>" not in shown
    assert "Söns" in shown
    assert "\\u00" not in shown
    assert "Made of today's templates" in shown


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        (
            "Hello\n{{ total|add:discount }}",
            "notifications/order_confirmed.txt, line 2, {{ total|add:discount }}",
            "the message has no 'discount'",
        ),
        (
            "{% if total %}\n\nnever closed",
            "notifications/order_confirmed.txt, line 1, {% if total %}",
            "TemplateSyntaxError: Unclosed tag on line 1: 'if'. Looking for one of: elif, else, endif.",
        ),
        (
            "{% include 'notifications/no_such.txt' %}",
            "notifications/order_confirmed.txt, line 1, {% include 'notifications/no_such.txt' %}",
            "TemplateDoesNotExist: notifications/no_such.txt",
        ),
    ],
)
def test_a_message_that_cannot_be_rendered_says_in_which_file_and_at_what(
    staff: Client, queued: Notification, template: Callable[[str], None], text: str, place: str, why: str
) -> None:
    template(text)
    with pytest.raises(NotRendered) as refused:
        one.send(notification_id=queued.pk, now=timezone.now())
    assert str(refused.value) == f"{place}: {why}"
    assert mail.outbox == []
    shown = unescape(page(staff, queued))
    assert "The message cannot be rendered" in shown
    assert place in shown
    assert why in shown
    assert "<iframe" not in shown
    assert '"name": "Söns' in shown
    queued.refresh_from_db()
    assert queued.status == "queued"


def test_a_kind_without_templates_is_shown_too(staff: Client, queued: Notification) -> None:
    Notification.objects.filter(pk=queued.pk).update(kind="nonsense")
    assert "notifications/nonsense.subject.txt" in page(staff, queued)
