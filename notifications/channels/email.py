"""E-mail through Django's mail back end, in text and HTML."""

import time
from collections.abc import Sequence
from contextlib import suppress
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from sagas.core.errors import TryTimedOut

from ..errors import ChannelDown
from ..models import Notification

#: How long one batch of messages may take; a server that is slow has its messages one by one.
_MANY_SECONDS = 5.0


class EmailChannel:
    """Renders `templates/notifications/<kind>.{subject.txt,txt,html}`."""

    def send(self, notification: Notification) -> None:
        try:
            _message(notification).send()
        except (OSError, SMTPException) as error:
            raise ChannelDown(f"{type(error).__name__}: {error}") from error

    def send_many(self, notifications: Sequence[Notification]) -> list[Notification]:
        """Send what can be sent within some seconds over one connection; return what left."""
        until, left = time.monotonic() + _MANY_SECONDS, []
        # Rendered first: one that cannot be must not have its neighbours sent twice.
        messages = [(notification, message) for notification in notifications if (message := _rendered(notification))]
        with suppress(OSError, SMTPException), get_connection() as connection:
            for notification, message in messages:
                if time.monotonic() > until:
                    break
                with suppress(OSError, SMTPException):
                    connection.send_messages([message])
                    left.append(notification)
        return left


def _rendered(notification: Notification) -> EmailMultiAlternatives | None:
    """Return the message; None if it cannot be rendered: sent alone, it says why."""
    try:
        return _message(notification)
    except TryTimedOut:
        raise
    except Exception:  # noqa: BLE001 - whatever a template or its values raise
        return None


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
