"""The users' side: a process that calls `ensure()` keeps the servers running until it ends."""

import fcntl
import os
import subprocess
import sys
import time

from .lock import Lock
from .paths import PROJECT, Unavailable, claim_sockets, var
from .postgres import Postgres
from .redis import Redis
from .server import READY_SECONDS, Server, environment

#: The users' locks that this process holds; the kernel closes them when it ends. Forks share them, an exec drops them.
_held: dict[str, Lock] = {}


def ensure() -> None:
    """Start the servers that no URL names, and keep them until this process ends; safe to call again and by many.

    Raises:
        Unavailable: ends the process with one line that says why.
    """
    waiting = [server for server in (Postgres(), Redis()) if server.variable not in os.environ]
    deadline = time.monotonic() + READY_SECONDS
    try:
        while waiting := [server for server in waiting if not _attached(server)]:
            if time.monotonic() > deadline:
                raise Unavailable(f"{waiting[0].title} did not answer in {READY_SECONDS:.0f} s; see {waiting[0].log}")
            time.sleep(0.05)
    except OSError as error:
        raise Unavailable(f"the embedded servers cannot use {var()}: {error}. SHOP_VAR names another folder") from None


def _attached(server: Server) -> bool:
    """Make one try to get an answering server: register as its user, then make sure that it has a keeper."""
    held = _held.get(server.name)
    if held is None or not held.is_current():
        server.run.mkdir(parents=True, exist_ok=True)
        users = Lock.take(server.users, fcntl.LOCK_SH)
        if users is None:  # the last keeper is stopping the server
            return False
        _held[server.name] = users
    keeper = Lock.take(server.keeper, fcntl.LOCK_EX)
    if keeper is None:
        return server.pid() is not None and server.answers()
    if server.spawned:
        raise Unavailable(server.failure())
    server.spawned = True
    _spawn_keeper(server, keeper)
    return False


def _spawn_keeper(server: Server, lock: Lock) -> None:
    """Start a keeper that inherits its lock, so that two can never start."""
    claim_sockets()
    server.error.unlink(missing_ok=True)
    with server.open_log() as log:
        # Returns as soon as the keeper has forked: the keeper is no child of this process, which need not reap it.
        subprocess.run(
            [sys.executable, "-m", "embedded.keeper", server.name, str(lock.fd)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=PROJECT,
            env=environment() | {"SHOP_VAR": str(var())},
            pass_fds=[lock.fd],
            start_new_session=True,
            umask=0o077,
        )
    lock.release()
