"""One run: rounds of all measurements, interleaved, then the tables."""

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import psutil
from django.db import connection
from rich.console import Console

from shop import embedded

from . import contenders, ground, throughput
from .contenders import Contender
from .knobs import Knobs
from .results import Book, Measured


class Run:
    """Owns every process it starts; all of them are gone when `run` returns or raises."""

    def __init__(self, knobs: Knobs, folder: Path) -> None:
        self.knobs, self.folder = knobs, folder
        self.console = Console(width=None if sys.stdout.isatty() else 120)
        self.book = Book()
        self.stored = 0
        self.round = 0
        self.running: Contender | None = None

    def run(self) -> int:
        _note_commits()
        ground.make()
        if self._chosen("dbos-queue") or self._chosen("dbos-direct"):
            from . import dbos_flow

            dbos_flow.migrate()
        self.book.facts = _facts(self.knobs)
        try:
            for number in range(self.knobs.rounds):
                self.round = number
                self._round()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            if self.running is not None:
                self.running.stop()
        for figure in self.book.figures():
            self.console.print(
                f"{figure.what:12} {figure.who:12} {figure.name:20} {figure.median:10.1f} {figure.least:10.1f} {figure.most:10.1f}"
            )
        self.console.print(self.book.memory)
        (self.folder / "results.json").write_text(json.dumps(self.book.document(), indent=1))
        return 0

    def _chosen(self, name: str) -> bool:
        return not self.knobs.contenders or name in self.knobs.contenders

    def _round(self) -> None:
        wanted = [contender for contender in contenders.ALL if self._chosen(contender.name)]
        begin = self.round % max(1, len(wanted))
        for kind in (*wanted[begin:], *wanted[:begin]):
            with self._started(kind) as contender:
                self._keep(throughput.measure(contender, orders=self.knobs.orders, seed=f"round {self.round}"))

    @contextmanager
    def _started(self, kind: type[Contender]) -> Iterator[Contender]:
        """Run a contender on clean ground, warmed up."""
        ground.clear()
        contender = kind(self.folder / "log")
        self.running = contender
        try:
            contender.start()
            throughput.measure(contender, orders=throughput.WARM_UP, seed="warm-up")
            yield contender
            self.book.remember(contender.name, contender.peak_memory())
        finally:
            contender.stop()
            self.running = None

    def _keep(self, measured: Sequence[Measured]) -> None:
        for one in measured:
            self.book.measured.append(replace(one, round=self.round, stored=self.stored))
            figures = ", ".join(f"{value:,.1f} {name}" for name, value in one.figures.items())
            self.console.print(f"round {self.round + 1}: {one.what}, {one.who}: {figures}", highlight=False)


def _note_commits() -> None:
    """Have PostgreSQL note when each transaction was committed, so that no contender is asked all the time."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW track_commit_timestamp")
        if cursor.fetchone()[0] == "on":
            return
        cursor.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    connection.close()
    server = embedded.Postgres()
    pid = server.pid()
    if pid is not None:
        os.kill(pid, server.stop_signal)
        psutil.wait_procs([psutil.Process(pid)], timeout=30)
    while not (server.pid() and server.answers()):  # its keeper starts it again
        time.sleep(0.05)


def _facts(knobs: Knobs) -> dict[str, object]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), current_setting('fsync')")
        postgres, fsync = cursor.fetchone()
    return {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "postgres": postgres,
        "fsync": fsync,
        **{name: version(name) for name in ("django", "celery", "dbos")},
        "orders": knobs.orders,
        "rounds": knobs.rounds,
    }
