"""The data folders and the sockets of the embedded servers: computed, not stored."""

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent


class Unavailable(SystemExit):
    """A server cannot run here. Ends the process with a message of one line: a caller cannot handle it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"shop: {reason}")
        self.reason = reason


def var() -> Path:
    """Return the folder of all data; a relative SHOP_VAR counts from the project, so every terminal means the same."""
    return (PROJECT / Path(os.environ.get("SHOP_VAR") or "var").expanduser()).resolve()


def database() -> dict[str, Any]:
    """Return the entry for Django's DATABASES."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "shop",
        "HOST": str(sockets()),
        "PORT": "5432",  # part of the socket's name, and proof against a PGPORT in the environment
    }


def broker_url() -> str:
    return f"redis+socket://{sockets()}/redis.sock?virtual_host=0"


def sockets() -> Path:
    # A socket's path may have 107 bytes and redis+socket URLs no spaces: a checkout may break both, /tmp never does.
    digest = hashlib.sha256(os.fsencode(var())).hexdigest()[:12]
    return Path(f"/tmp/shop-{os.geteuid()}-{digest}")  # noqa: S108 - private and verified: `claim_sockets`


def claim_sockets() -> None:
    """Make the folder of the sockets, or refuse one of another user: every user can write to /tmp."""
    folder = sockets()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Unavailable(f"{folder} must be a folder that is yours alone (mode 700); remove it and try again")
