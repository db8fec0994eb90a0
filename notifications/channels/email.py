"""E-mail through Django's mail back end, in text and HTML."""

import time
from collections.abc import Sequence
from smtplib import SMTPException
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.template.loader import render_to_string

from sagas.core.errors import TryTimedOut

from ..errors import ChannelDown
from ..models import Notification

#: Time limit of a batch of messages; the rest after a slow server is sent one by one.
_MAX_SECONDS = 5.0


class EmailChannel:
    """Renders `templates/notifications/<kind>.{subject.txt,txt,html}`."""

    def send(self, notifications: Sequence[Notification]) -> dict[UUID, Exception | None]:
        """Send the messages that can be sent within some seconds, over one connection."""
        outcomes: dict[UUID, Exception | None] = {}
        # Render first: a message that cannot be rendered must not cause its neighbours to be sent twice.
        messages = []
        for notification in notifications:
            try:
                messages.append((notification.id, _message(notification)))
            except TryTimedOut:
                raise
            except Exception as error:  # noqa: BLE001 - a template and its values may raise anything
                outcomes[notification.id] = error
        until = time.monotonic() + _MAX_SECONDS
        try:
            with get_connection() as connection:
                for pk, message in messages:
                    if time.monotonic() > until:
                        break
                    outcomes[pk] = _failure(connection, message)
        except (OSError, SMTPException) as error:
            outcomes = {pk: _down(error) for pk, _ in messages} | outcomes
        return outcomes


def _failure(connection: BaseEmailBackend, message: EmailMultiAlternatives) -> Exception | None:
    try:
        connection.send_messages([message])
    except (OSError, SMTPException) as error:
        return _down(error)
    return None


def _down(error: Exception) -> ChannelDown:
    down = ChannelDown(f"{type(error).__name__}: {error}")
    down.__cause__ = error
    return down


def _message(notification: Notification) -> EmailMultiAlternatives:
    template, context = f"notifications/{notification.kind}", notification.context
    message = EmailMultiAlternatives(
        subject=" ".join(render_to_string(f"{template}.subject.txt", context).split()),
        body=render_to_string(f"{template}.txt", context),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[notification.recipient],
        headers={"Message-ID": f"<{notification.id}@shop>"},
    )
    message.attach_alternative(render_to_string(f"{template}.html", context), "text/html")
    return message
