"""`make run`: migrations, demo data, then every process of the Procfile until Ctrl-C."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from honcho.environ import parse_procfile  # type: ignore[import-untyped]
from honcho.manager import Manager  # type: ignore[import-untyped]
from honcho.printer import Printer  # type: ignore[import-untyped]

import embedded

DEMO_LOGIN = "demo / demo"

#: If a process ends more often than this in a minute, another start does not help.
MAX_ENDS_A_MINUTE = 5


def main() -> None:
    port = os.environ.setdefault("PORT", "8000")
    _require_free_port(os.environ.get("BIND", "127.0.0.1"), port)
    os.chdir(embedded.PROJECT)
    # `python` in the Procfile is the interpreter of this process.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ |= {"PYTHONUNBUFFERED": "1", "SHOP_DEMO_LOGIN": DEMO_LOGIN}
    # In a container every process is root, and messages are JSON: the warning does not apply.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:You're running the worker with superuser privileges")
    os.environ.setdefault("API_TOKEN", "demo-token")
    # Served without TLS, whatever database it uses.
    os.environ.setdefault("HTTPS", "off")
    embedded.ensure()
    _manage("migrate", "--verbosity=0")
    _manage("seed")
    sys.exit(supervise(processes()))


def _require_free_port(host: str, port: str) -> None:
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise SystemExit(f"shop: PORT={port} is not a port: use a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise SystemExit(
                f"shop: cannot use port {port}: {error.strerror}. Another one: make run PORT=8001"
            ) from None


def _manage(*command: str) -> None:
    done = subprocess.run([sys.executable, "manage.py", *command], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def supervise(commands: Mapping[str, str]) -> int:
    """Run commands until Ctrl-C, or until one of them ends too often; return the exit code."""
    manager = _Supervisor(Printer(_Terminal()))
    for name, command in commands.items():
        manager.add_process(name, command)
    # A closed terminal is a stop too; honcho handles only Ctrl-C and SIGTERM.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.loop()
    return int(manager.returncode or 0)


class _Supervisor(Manager):  # type: ignore[misc]
    """Starts a process again that has ended; honcho would end all the others instead."""

    returncode: int | None

    def __init__(self, printer: Printer) -> None:
        super().__init__(printer)
        self._ends: dict[str, list[float]] = defaultdict(list)

    def _all_stopped(self) -> bool:
        """Say whether all processes have ended; honcho calls it in each turn of its loop."""
        if not self._terminating:
            for name, process in self._processes.items():
                if process.get("returncode") is not None:
                    self._has_ended(name, process)
        return bool(super()._all_stopped())

    def _has_ended(self, name: str, process: dict[str, Any]) -> None:
        code, now = process["returncode"], time.monotonic()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._ends[name] = [*(each for each in self._ends[name] if now - each < 60), now]
        if len(self._ends[name]) > MAX_ENDS_A_MINUTE:
            self._system_print(
                f"{name} {how}, the {len(self._ends[name])}th end within a minute: the shop stops;"
                f" the lines of {name} above say why\n"
            )
            return
        self._system_print(f"{name} {how}; it is started again\n")
        del process["returncode"]
        self.returncode = None
        process["process"] = multiprocessing.Process(name=name, target=process["obj"].run, args=(self.events, True))
        process["process"].start()


def processes() -> dict[str, str]:
    """Return the commands of the Procfile by name, without the receivers' worker if there are no receivers."""
    commands: dict[str, str] = dict(parse_procfile((embedded.PROJECT / "Procfile").read_text()).processes)
    if not any(os.environ.get(variable, "").strip() for variable in ("WEBHOOKS", "STREAMS")):
        del commands["outward"]
    return commands


class _Terminal:
    """Standard output without a buffer: honcho prints in signal handlers, where a buffer may be in use already."""

    def write(self, text: str) -> None:
        with suppress(OSError):  # a closed terminal must not prevent the stop
            os.write(sys.stdout.fileno(), text.encode(errors="replace"))

    def flush(self) -> None:
        """There is no buffer."""

    def isatty(self) -> bool:
        return sys.stdout.isatty()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
