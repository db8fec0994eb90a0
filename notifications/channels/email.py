"""E-mail through Django's mail back end, in text and HTML."""

import html
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from smtplib import SMTPException
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.template import VariableDoesNotExist
from django.template.backends.django import DjangoTemplates
from django.template.loader import render_to_string

from sagas.core.errors import TryTimedOut

from ..channel import Rendered
from ..errors import ChannelDown, NotRendered
from ..models import Notification

#: Time limit of a batch of messages; the rest after a slow server is sent one by one.
_MAX_SECONDS = 5.0


class EmailChannel:
    """Renders `templates/notifications/<kind>.{subject.txt,txt,html}`."""

    def render(self, notification: Notification) -> Rendered:
        template, context = f"notifications/{notification.kind}", notification.context
        return Rendered(
            sender=settings.DEFAULT_FROM_EMAIL,
            subject=" ".join(_filled(f"{template}.subject.txt", context).split()),
            text=_filled(f"{template}.txt", context),
            html=_filled(f"{template}.html", context),
        )

    def send(self, notifications: Sequence[Notification]) -> dict[UUID, Exception | None]:
        """Send the messages that can be sent within some seconds, over one connection."""
        outcomes: dict[UUID, Exception | None] = {}
        # Render first: a message that cannot be rendered must not cause its neighbours to be sent twice.
        messages = []
        for notification in notifications:
            try:
                messages.append((notification.id, _message(notification, self.render(notification))))
            except NotRendered as error:
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
    except TryTimedOut:
        raise
    except (OSError, SMTPException) as error:
        return _down(error)
    except Exception as error:  # noqa: BLE001 - such as UnicodeError, for an address that no header can hold
        return error
    return None


def _down(error: Exception) -> ChannelDown:
    down = ChannelDown(f"{type(error).__name__}: {error}")
    down.__cause__ = error
    return down


def _message(notification: Notification, rendered: Rendered) -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        subject=rendered.subject,
        body=rendered.text,
        from_email=rendered.sender,
        to=[notification.recipient],
        headers={"Message-ID": f"<{notification.id}@shop>"},
    )
    message.attach_alternative(rendered.html, "text/html")
    return message


def _filled(template: str, context: Mapping[str, Any]) -> str:
    try:
        return render_to_string(template, dict(context))
    except TryTimedOut:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, VariableDoesNotExist):
            why = f"the message has no {error.params[0]!r}"  # its own text repeats all variables of the message
        raise NotRendered(_place(template, context), why) from error


def _place(template: str, context: Mapping[str, Any]) -> str:
    """Return the file, the line and the tag at which a template fails: Django reports them only in debug mode."""
    own: dict[str, Any] = settings.TEMPLATES[0]
    debugging = DjangoTemplates(
        {
            "NAME": "debugging",
            "DIRS": own["DIRS"],
            "APP_DIRS": own["APP_DIRS"],
            "OPTIONS": {**own["OPTIONS"], "debug": True},
        }
    )
    try:
        debugging.get_template(template).render(dict(context))
    except TryTimedOut:
        raise
    except Exception as error:  # noqa: BLE001 - the error of the template
        found = getattr(error, "template_debug", None)
        if found is not None:
            file = "/".join(Path(found["name"]).parts[-2:])
            return f"{file}, line {found['line']}, {html.unescape(found['during'])}"
    return template
