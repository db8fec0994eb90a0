"""The key that signs sessions, for a shop on its embedded servers: generated automatically."""

import os
import secrets
from contextlib import suppress

import embedded


def drawn_once() -> str:
    """Return the key in `var/secret-key`, readable by its owner only; generate it if it is missing."""
    path = embedded.var() / "secret-key"
    try:
        return path.read_text()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    drawn = path.with_name(f"secret-key.{os.getpid()}")
    drawn.touch(mode=0o600)
    drawn.write_text(secrets.token_urlsafe(50))
    with suppress(FileExistsError):  # another process was faster: its key is used
        os.link(drawn, path)
    drawn.unlink()
    return path.read_text()
