"""The processes of contenders: start, commands, pause, memory, kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

import embedded

#: A process without an answer for this long hangs.
_PATIENCE_SECONDS = 600.0


class Process:
    """One process and its children, in a group of its own."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=embedded.PROJECT,
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if environment.get(_TALKS) else errors,
                stderr=errors,
                start_new_session=True,
                text=True,
            )

    def say(self, **what: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was opened with one
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            SystemExit: it died.
        """
        assert self._process.stdout is not None  # noqa: S101 - it was opened with one
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmark: {self.name} ended; see {self.log}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def pause(self) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def check(self) -> None:
        """Raise SystemExit if it ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"benchmark: {self.name} ended with {self._process.returncode}; see {self.log}")

    def peak_memory(self) -> dict[str, int]:
        """Return the most memory that this process and each of its children ever had, in kB."""
        found = {}
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self._process.pid)
            for number, process in enumerate([leader, *leader.children(recursive=True)]):
                name = self.name if number == 0 else f"{self.name}, child {number}"
                with suppress(OSError):
                    found[name] = _high_water(process.pid)
        return found

    def cpu_seconds(self) -> float:
        """Return the time that the process and its children have computed so far."""
        return cpu_seconds(self._process.pid)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # Not communicate(): its unread input and output are not needed.
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()


#: Marks, in its environment, a process that answers on its standard output.
_TALKS = "BENCHMARK_TALKS"


def child(kind: str, number: int, *, log: Path) -> Process:
    """Start `benchmarks.child`; its first answer says that it is ready."""
    command = [sys.executable, "-m", "benchmarks.child", kind, str(number)]
    return Process(f"{kind} {number}", command, log=log, environment={_TALKS: "1"})


def shell(name: str, command: str, *, log: Path, **environment: str) -> Process:
    """Start a command as the Procfile has it."""
    return Process(name, ["/bin/sh", "-c", command], log=log, environment=environment)


def kill(running: Sequence[Process]) -> None:
    """Kill all processes; a second Ctrl-C waits until that is done."""
    stops = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        for process in running:
            process.kill()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)


def cpu_seconds(pid: int, *, without: int | None = None) -> float:
    """Return the time that a process and its children, living or dead, have computed so far; leave one out."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        for process in [leader, *leader.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                if process.pid != without:
                    times = process.cpu_times()
                    total += times.user + times.system + times.children_user + times.children_system
    return total


def wait_for(what: Callable[[], bool], *, processes: Sequence[Process], every_seconds: float = 0.02) -> None:
    """Return once the condition holds; it may take a tenth of the time at most.

    Raises:
        SystemExit: a process died, or it takes for ever.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        asked_at = time.monotonic()
        if what():
            return
        for process in processes:
            process.check()
        if time.monotonic() > until:
            raise SystemExit(f"benchmark: {', '.join(process.name for process in processes)} did not get done")
        time.sleep(max(every_seconds, 9 * (time.monotonic() - asked_at)))


def _high_water(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0
