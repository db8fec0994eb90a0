"""The supervisor: starts what the Procfile names and starts again what died, as systemd or Kubernetes would."""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

import embedded
from shop.platform.run import processes

_TURN_SECONDS = 0.1
#: A process that died this young waits as long before it is started again.
_YOUNG_SECONDS = 1.0


class Supervised:
    """A process of the Procfile, over all its lives. `lock` is held to signal it, so that the id is still its own."""

    def __init__(self, name: str, command: str, log: Path) -> None:
        self.name, self.command, self.log = name, command, log
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        #: Whether we killed the present life.
        self.condemned = False
        #: How it ended when nobody killed it.
        self.own_ends: list[int] = []

    def start(self) -> None:
        with self.lock, self.log.open("ab") as log:
            # A group of its own: all of it ends with its leader, as a container or a control group does.
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", self.command],
                cwd=embedded.PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self.started_at, self.condemned = time.monotonic(), False

    def children(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            if self.process is not None:
                return sorted(psutil.Process(self.process.pid).children(), key=lambda child: child.pid)
        return []

    def bury(self) -> None:
        """If its leader is dead, kill the rest of the group while its id cannot be anybody else's."""
        with self.lock:
            if self.process is None:
                return
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self.process.pid, flags) is None:
                return
            self._end()
            if not self.condemned:
                self.own_ends.append(self.process.returncode)
            self.process = None

    def kill(self) -> None:
        with self.lock:
            if self.process is not None:
                self._end()
                self.process = None

    def _end(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """Keeps every process of the Procfile alive until it is told to kill them all."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        commands = processes()
        self.supervised = {name: Supervised(name, command, logs / f"{name}.log") for name, command in commands.items()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tend, daemon=True)

    def start(self) -> None:
        for process in self.supervised.values():
            process.start()
        self._thread.start()

    def kill_all(self) -> None:
        """Leave nothing running."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        for process in self.supervised.values():
            process.kill()

    def _tend(self) -> None:
        while not self._over.wait(_TURN_SECONDS):
            for process in self.supervised.values():
                process.bury()
                if process.process is None and time.monotonic() - process.started_at > _YOUNG_SECONDS:
                    process.start()
