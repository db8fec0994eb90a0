"""The keeper: one detached process a server, `python -m embedded.keeper postgres`, with the lock it was handed."""

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

from .lock import Lock
from .paths import Unavailable, sockets
from .postgres import Postgres
from .redis import Redis
from .server import Server

#: Longer than the pause between two commands of `make run`, and short enough that no idle server stays.
LINGER_SECONDS = 2.0
TURN_SECONDS = 0.2


def keep(server: Server, lock: Lock) -> None:
    """Run one server for as long as it has users."""
    try:
        server.bring_up()
        _watch(server, lock)
    except Unavailable as error:
        server.error.write_text(error.reason)
        raise
    finally:
        server.stop()
        with suppress(OSError):  # the other server still uses the folder
            sockets().rmdir()


def _watch(server: Server, lock: Lock) -> None:
    """Return once the server has had no user for a while, or its folder is gone.

    Returns with the users' lock held, so that a new user waits until the server has stopped and starts a new one.
    """
    users = Lock(server.users, os.open(server.users, os.O_RDWR))
    last_used = time.monotonic()
    while lock.is_current():
        if not users.turn(fcntl.LOCK_EX):
            last_used = time.monotonic()
        elif time.monotonic() - last_used > LINGER_SECONDS:
            return
        else:
            users.turn(fcntl.LOCK_UN)
        if server.pid() is None or not server.socket.exists():
            _revive(server)
        time.sleep(TURN_SECONDS)


def _revive(server: Server) -> None:
    """Start a server that died; a keeper with users never gives up: it logs the failure and tries again."""
    server.stop()  # stop its rest: a server whose socket was deleted still writes to our data
    try:
        server.bring_up()
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")


def main() -> None:
    """Become the keeper of the server that is named, under the lock that was handed over."""
    name, fd = sys.argv[1:]
    os.chdir("/")  # the keeper was started in the project's folder, for the import of this package
    server = {"postgres": Postgres, "redis": Redis}[name]()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    lock = Lock(server.keeper, int(fd))
    os.truncate(lock.fd, 0)
    os.write(lock.fd, f"{os.getpid()}\n".encode())  # for people only: the lock decides
    keep(server, lock)


if __name__ == "__main__":
    main()
