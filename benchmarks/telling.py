"""How the relay gets new orders: it is woken by the commit, or follows the write-ahead log.

For each: how long from the commit until the order is relayed and until its first step begins, and what it costs, at
rest and with some orders a second.
"""

import random
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from django.db import connection

from sagas.cdc import slots
from sagas.log import outbox

from . import ground, judging, processes
from .contenders import await_workers, procfile
from .ground import Placed
from .processes import Process
from .results import Measured, p50_and_p99

_ORDERS_A_SECOND = 20
_LOAD = f"{_ORDERS_A_SECOND} orders/s"
_SLOT = "bench_relay"
#: Time after which all processes have started.
_WARM_UP, _REST_SECONDS = 20, 2.0
#: Name → the command that relays, and who relays as the settings know it.
WAYS = {
    "wake": ("", "celery"),
    "wal": (f"exec nice -n 10 python manage.py relay --slot={_SLOT}", "process"),
}
TITLES = {
    "wake": "relay is woken by each commit (usual)",
    "wal": "relay follows the write-ahead log",
}


def measure(logs: Path, *, way: str, orders: int, seed: str) -> list[Measured]:
    """Measure one way: so many orders at the usual pace, and as long at rest before it."""
    with _running(logs, way) as running, _woken_or_not(way):
        _flow(running, orders=_WARM_UP, seed=f"{seed}, warm-up")
        before = ground.mark()
        ground.settle()
        time.sleep(_REST_SECONDS)
        at_rest = _Meter(running)
        time.sleep(orders / _ORDERS_A_SECOND)
        figures = at_rest.read("at rest")
        under_load = _Meter(running)
        placed = _flow(running, orders=orders, seed=seed)
        figures |= under_load.read(_LOAD)
        alone = _one_by_one(running, orders=max(1, orders // 10), seed=f"{seed}, alone")
        processes.wait_for(lambda: ground.are_journalled(_keys([*placed, *alone])), processes=running)
        judging.judge(TITLES[way], [*placed, *alone], before, with_journal=True)
        for when, some in (("alone", alone), (_LOAD, placed)):
            figures |= p50_and_p99(_relayed_after(_keys(some)).values(), f"{when}: commit to relayed")
            figures |= p50_and_p99(ground.first_step_after(_keys(some)).values(), f"{when}: commit to first step")
    return [Measured(what="telling", who=way, figures=figures)]


@contextmanager
def _running(logs: Path, way: str) -> Iterator[list[Process]]:
    command, relays = WAYS[way]
    commands = procfile()
    chosen = {"worker": commands["worker"], "relay": command or commands["relay"], "beat": commands["beat"]}
    running = [
        processes.shell(name, line, log=logs / f"{name}-{way}.log", SAGAS_RELAY=relays) for name, line in chosen.items()
    ]
    try:
        await_workers(sum(" worker " in line for line in chosen.values()), running)
        if way == "wal":
            processes.wait_for(_is_followed, processes=running)
        yield running
    finally:
        processes.kill(running)
        if way == "wal":
            processes.wait_for(lambda: not _is_followed(), processes=[])
            slots.drop(_SLOT)


@contextmanager
def _woken_or_not(way: str) -> Iterator[None]:
    """Have commits of this process, which places the orders, wake the relay only where that is the way."""
    former = outbox.set_waker(lambda: None)
    if way == "wake":
        outbox.set_waker(former)
    try:
        yield
    finally:
        outbox.set_waker(former)


def _flow(running: list[Process], *, orders: int, seed: str) -> list[Placed]:
    """Place orders at the usual pace; return when the last of them is told of."""
    placed: list[Placed] = []
    begun_at = time.monotonic()
    for number, request in enumerate(ground.requests(orders, seed=seed)):
        time.sleep(max(0.0, begun_at + number / _ORDERS_A_SECOND - time.monotonic()))
        placed += ground.place([request])
    processes.wait_for(lambda: ground.are_told(_keys(placed)), processes=running)
    return placed


def _one_by_one(running: list[Process], *, orders: int, seed: str) -> list[Placed]:
    """Place each order when the one before is told of, at some moment of a second."""
    dice, placed = random.Random(seed), list[Placed]()  # noqa: S311 - no secret
    for request in ground.requests(orders, seed=seed):
        time.sleep(dice.uniform(0.1, 1.1))
        (order,) = ground.place([request])
        processes.wait_for(partial(ground.are_told, _keys([order])), processes=running)
        placed.append(order)
    return placed


def _keys(placed: Sequence[Placed]) -> list[str]:
    return [order["order_id"] for order in placed]


class _Meter:
    """The use of the servers and of the relay's processes since it was made."""

    def __init__(self, running: list[Process]) -> None:
        self._relaying = [process for process in running if process.name != "worker"]
        self._began = self._now()

    def read(self, when: str) -> dict[str, float]:
        """Return transactions and time computed, a second."""
        (at, transactions, servers, relaying), began = self._now(), self._began
        seconds = at - began[0]
        return {
            f"{when}: transactions/s": (transactions - began[1]) / seconds,
            f"{when}: PostgreSQL and Redis, CPU ms/s": 1000 * (servers - began[2]) / seconds,
            f"{when}: relay and beat, CPU ms/s": 1000 * (relaying - began[3]) / seconds,
        }

    def _now(self) -> tuple[float, float, float, float]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            (transactions,) = cursor.fetchone()
        relaying = sum(process.cpu_seconds() for process in self._relaying)
        return time.monotonic(), float(transactions), ground.servers_cpu_seconds(), relaying


def _relayed_after(keys: Collection[str]) -> dict[str, float]:
    """Return how many seconds after the commit of each order the relay's was; neither row is touched later."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event.key, extract(epoch FROM"
            " min(pg_xact_commit_timestamp(event.xmin)) - min(pg_xact_commit_timestamp(line.xmin)))"
            " FROM sagas_event AS event JOIN orders_orderline AS line ON line.order_id = event.key::uuid"
            " WHERE event.key = ANY(%s) AND event.type = 'orders.order_placed' GROUP BY event.key",
            [list(keys)],
        )
        return {key: float(seconds) for key, seconds in cursor.fetchall()}


def _is_followed() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [_SLOT])
        row = cursor.fetchone()
        return bool(row and row[0])
