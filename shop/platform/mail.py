"""The mail back end without a mail server: a folder with one file for each message, which mail programs can open."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class MailFolder(BaseEmailBackend):
    """Keeps messages in the folder `EMAIL_FILE_PATH`, each as `<Message-ID>.eml`.

    Idempotent: by Message-ID; the first message with an id is kept.

    Raises:
        OSError: the folder cannot be written (not with `fail_silently`).
    """

    def __init__(self, file_path: Path | str | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.folder = Path(file_path or settings.EMAIL_FILE_PATH)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Return how many messages the folder has, including those that were there before."""
        taken = 0
        for email_message in email_messages:
            try:
                self._keep(email_message)
            except OSError:
                if not self.fail_silently:
                    raise
            else:
                taken += 1
        return taken

    def _keep(self, email_message: EmailMessage) -> None:
        message = email_message.message()
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{uuid4().hex}"
        try:
            unfinished.write_bytes(message.as_bytes())
            # A link, not a rename: it never replaces a message, and a reader sees a whole message or none.
            os.link(unfinished, self.folder / file_name(str(message["Message-ID"])))
        except FileExistsError:
            pass
        finally:
            unfinished.unlink(missing_ok=True)


def file_name(message_id: str) -> str:
    """Return the name of a message's file; an id that is not a valid name, or is too long, is hashed."""
    plain = message_id.strip("<>")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,199}", plain):
        plain = hashlib.sha256(message_id.encode(errors="replace")).hexdigest()
    return f"{plain}.eml"
