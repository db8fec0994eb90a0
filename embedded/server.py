"""One embedded server: how it is made, started, asked and stopped."""

import importlib.util
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from .paths import Unavailable, claim_sockets, sockets, var

#: initdb on a slow disk takes a few seconds, crash recovery more.
READY_SECONDS = 60.0
#: A server that dies at once is started again for this long: the children of a killed PostgreSQL need a moment to end.
RETRY_SECONDS = 5.0
STOP_SECONDS = 20.0
LOG_BYTES = 10_000_000


class Server(ABC):
    """One embedded server: how it is made, started, asked and stopped."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: The variable that names another server to use instead.
    variable: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    socket_name: ClassVar[str]

    def __init__(self) -> None:
        self.socket = sockets() / self.socket_name
        self.data = var() / self.name
        self.run = var() / "run"
        self.log = var() / "log" / f"{self.name}.log"
        self.users, self.keeper, self.error = (
            self.run / f"{self.name}.{suffix}" for suffix in ("users", "keeper", "error")
        )
        self.spawned = False
        self.child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder, or raise `Unavailable` when it cannot be used."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return what to execute, in the data folder."""

    @abstractmethod
    def pid(self) -> int | None:
        """Return the process that serves our data, also if another process started it, or None."""

    @abstractmethod
    def answers(self) -> bool:
        """Say whether it takes queries now."""

    def bring_up(self) -> None:
        """Adopt the server that runs, as after a kill -9 of its keeper, or start one."""
        deadline = time.monotonic() + READY_SECONDS
        while self.pid() is not None and time.monotonic() < deadline:
            if self.answers():
                return
            time.sleep(0.05)
        self._start()

    def stop(self) -> None:
        """Stop it with its stop signal, then kill it."""
        for number in (self.stop_signal, signal.SIGQUIT):
            pid = self._living_child() or self.pid()
            if pid is None:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while (self._living_child() or self.pid()) and time.monotonic() < deadline:
                time.sleep(0.02)

    def open_log(self) -> Any:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        log = self.log.open("ab")
        if log.tell() > LOG_BYTES:
            log.truncate(0)
        return log

    def failure(self) -> str:
        """Return why the keeper gave up, in one line."""
        try:
            return self.error.read_text()
        except FileNotFoundError:
            return f"{self.title} did not start: {self._last_words()}"

    def _start(self) -> None:
        begun = time.monotonic()
        while True:
            claim_sockets()
            self.prepare()
            with self.open_log() as log:
                self.child = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.data,
                    start_new_session=True,
                )
            while self._living_child() and not self.answers():
                if time.monotonic() - begun > READY_SECONDS:
                    raise Unavailable(f"{self.title} does not answer: {self._last_words()}")
                time.sleep(0.02)
            if self._living_child():
                return
            if time.monotonic() - begun > RETRY_SECONDS:
                raise Unavailable(f"{self.title} did not start: {self._last_words()}")
            time.sleep(0.2)

    def _living_child(self) -> int | None:
        """Return the process this keeper started, and reap it when it is dead."""
        return self.child.pid if self.child is not None and self.child.poll() is None else None

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        fatal = [line for line in lines[-20:] if "FATAL" in line or "error:" in line.lower()]
        return f"{(fatal or lines or ['it said nothing'])[-1]} ({self.log})"


def in_wheel(package: str) -> Path:
    """Find an installed package without importing it, because its import has side effects."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise Unavailable(f"the package {package} is missing; `make setup` installs it")
    return Path(found.origin).parent


def environment() -> dict[str, str]:
    """Return our environment without the variables of libpq and PostgreSQL: PGHOST, PGDATA, PGSERVICE."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def command_line(pid: int) -> str:
    """Return the command line of a process, empty for a dead one."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    answer = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return answer.stdout
