"""E-mail through Django's mail back end, in text and HTML."""

from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from ..errors import ChannelDown
from ..models import Notification


class EmailChannel:
    """Renders `templates/notifications/<kind>.{subject.txt,txt,html}`."""

    def send(self, notification: Notification) -> None:
        template, context = f"notifications/{notification.kind}", notification.context
        message = EmailMultiAlternatives(
            subject=" ".join(render_to_string(f"{template}.subject.txt", context).split()),
            body=render_to_string(f"{template}.txt", context),
            from_email=settings.DEFAULT_FROM_EMAIL,
            to=[notification.recipient],
            headers={"Message-ID": f"<{notification.id}@shop>"},
        )
        message.attach_alternative(render_to_string(f"{template}.html", context), "text/html")
        try:
            message.send()
        except (OSError, SMTPException) as error:
            raise ChannelDown(f"{type(error).__name__}: {error}") from error
