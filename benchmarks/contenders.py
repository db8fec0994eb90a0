"""The contenders: each starts its processes, gets orders while they are paused, and is then started."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from shop.celery import app
from shop.platform import run

from . import ground, processes
from .apps import PEER
from .ground import Placed
from .processes import Process


class Contender(ABC):
    """One way to process orders. A new one is made for each measurement."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: Whether it leaves runs, steps and deliveries.
    with_journal: ClassVar[bool] = False
    #: Whether its latency is measured, too.
    one_by_one: ClassVar[bool] = False

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.processes: list[Process] = []

    @abstractmethod
    def start(self) -> None:
        """Start all processes and wait until they are ready for work."""

    @abstractmethod
    def pause(self) -> None:
        """Stop all processes from taking work."""

    @abstractmethod
    def give(self, orders: Sequence[Placed]) -> None:
        """Hand over orders that were placed."""

    @abstractmethod
    def let_loose(self) -> None:
        """Begin; returns at once."""

    def wait(self, orders: Sequence[Placed]) -> None:
        """Return when all orders are confirmed and all customers told."""
        keys = [order["order_id"] for order in orders]
        processes.wait_for(lambda: ground.are_told(keys), processes=self.processes)

    def finish(self, orders: Sequence[Placed]) -> None:
        """Return when all writing has ended; this is not part of the measurement."""
        del orders

    def place_one(self, seed: str) -> tuple[Placed, float]:
        """Place an order and have it processed; return it and the time of its request, in seconds since 1970."""
        raise NotImplementedError

    def peak_memory(self) -> dict[str, int]:
        """Return kB by process."""
        return {name: peak for process in self.processes for name, peak in process.peak_memory().items()}

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of its processes and of the servers so far."""
        return sum(process.cpu_seconds() for process in self.processes) + ground.servers_cpu_seconds()

    def stop(self) -> None:
        processes.kill(self.processes)


class Ours(Contender):
    """Worker, relay and beat of the Procfile; orders wait in the outbox while relay and beat are paused."""

    name, title, with_journal, one_by_one = "ours", "the shop", True, True
    _GATE = ("relay", "beat")

    def start(self) -> None:
        # Peers keep no audit trail, and have no web process.
        commands = {name: command for name, command in procfile().items() if name not in {"web", "changes"}}
        self.processes = [
            processes.shell(name, command, log=self.logs / f"{name}.log") for name, command in commands.items()
        ]
        await_workers(sum(" worker " in command for command in commands.values()), self.processes)

    def pause(self) -> None:
        for process in self._gate():
            process.pause()

    def give(self, orders: Sequence[Placed]) -> None:
        """Nothing to do: their events wait in the outbox."""

    def let_loose(self) -> None:
        for process in self._gate():
            process.go_on()

    def _gate(self) -> list[Process]:
        return [process for process in self.processes if process.name in self._GATE]

    def finish(self, orders: Sequence[Placed]) -> None:
        keys = [order["order_id"] for order in orders]
        processes.wait_for(lambda: ground.are_journalled(keys), processes=self.processes)

    def place_one(self, seed: str) -> tuple[Placed, float]:
        asked_at = time.time()
        (order,) = ground.place(ground.requests(1, seed=seed))
        return order, asked_at


class Chains(Contender):
    """Celery chains without a journal, on the same worker as ours."""

    name, title = "celery", "Celery chains, no journal"

    def start(self) -> None:
        more = {PEER: self.name}
        self.processes = [processes.shell("worker", procfile()["worker"], log=self.logs / "chains.log", **more)]
        await_workers(1, self.processes)

    def pause(self) -> None:
        self.processes[0].pause()

    def give(self, orders: Sequence[Placed]) -> None:
        from .tasks import publish

        publish(list(orders))

    def let_loose(self) -> None:
        self.processes[0].go_on()


class Children(Contender):
    """Processes of `benchmarks.child`, each with its share of the orders."""

    kind: ClassVar[str]

    @property
    def count(self) -> int:
        """How many processes."""
        return 1

    def start(self) -> None:
        self.processes = [
            processes.child(self.kind, number, log=self.logs / f"{self.kind}.log") for number in range(self.count)
        ]
        for process in self.processes:
            process.hear()

    def pause(self) -> None:
        """They wait for their orders."""

    def give(self, orders: Sequence[Placed]) -> None:
        for number, process in enumerate(self.processes):
            process.say(load=list(orders[number :: len(self.processes)]))
            process.hear()

    def let_loose(self) -> None:
        for process in self.processes:
            process.say(go=True)

    def wait(self, orders: Sequence[Placed]) -> None:
        for process in self.processes:
            process.hear()
        super().wait(orders)

    def place_one(self, seed: str) -> tuple[Placed, float]:
        self.processes[0].say(place=seed)
        answer: dict[str, Any] = self.processes[0].hear()
        return answer["order"], answer["asked_at"]


class Plain(Children):
    name, title, kind, one_by_one = "plain", "plain function, 1 process", "plain", True


class PlainOnAllCores(Children):
    name, title, kind = "plain-cores", "plain function, a process a core", "plain"

    @property
    def count(self) -> int:
        return len(os.sched_getaffinity(0))


class OrmFloor(Children):
    name, title, kind, with_journal = "orm-floor", "floor: the ORM's low_priority calls", "orm-floor", True


class SqlFloor(Children):
    name, title, kind, with_journal = "sql-floor", "floor: set-based SQL", "sql-floor", True


class DbosDirect(Children):
    name, title, kind, one_by_one = "dbos-direct", "DBOS, started directly", "dbos-direct", True

    @property
    def count(self) -> int:
        from . import dbos_flow

        return dbos_flow.knobs(self.kind).processes


class DbosQueue(DbosDirect):
    """Workflows are enqueued from outside while its processes are paused."""

    name, title, kind, one_by_one = "dbos-queue", "DBOS queue", "dbos-queue", True

    def pause(self) -> None:
        for process in self.processes:
            process.pause()

    def give(self, orders: Sequence[Placed]) -> None:
        from . import dbos_flow

        dbos_flow.enqueue(orders)

    def let_loose(self) -> None:
        for process in self.processes:
            process.go_on()

    def wait(self, orders: Sequence[Placed]) -> None:
        Contender.wait(self, orders)


ALL: tuple[type[Contender], ...] = (
    Ours, DbosQueue, DbosDirect, Chains, Plain, PlainOnAllCores, OrmFloor, SqlFloor,
)  # fmt: skip


def procfile() -> dict[str, str]:
    """Return the commands of `make run`."""
    return run.processes()


def await_workers(count: int, running: Sequence[Process]) -> None:
    processes.wait_for(lambda: len(app.control.ping(timeout=0.3) or []) >= count, processes=running)
