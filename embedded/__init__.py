"""Private PostgreSQL and Redis servers under `var/`, for a machine on which nothing is installed (decision 0003).

A server runs while a process uses it. A process that calls `ensure()` holds a shared lock on `var/run/<server>.users`
until it ends, however it ends. A keeper, one detached process a server, holds `<server>.keeper`, starts the server
again when it dies, and stops it once the users' lock is free.

Importing this package starts nothing, and it imports the standard library only: the settings need it before Django is
set up, and a keeper runs without the shop.
"""

from .lock import Lock
from .paths import PROJECT, Unavailable, broker_url, database, var
from .postgres import Postgres
from .redis import Redis
from .server import READY_SECONDS, Server
from .users import ensure

__all__ = [
    "PROJECT",
    "READY_SECONDS",
    "Lock",
    "Postgres",
    "Redis",
    "Server",
    "Unavailable",
    "broker_url",
    "database",
    "ensure",
    "var",
]
