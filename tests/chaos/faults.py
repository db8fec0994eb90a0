"""The faults: which come when, by a seed; and how each is done."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import psutil
from django.utils import timezone
from redis import Redis, RedisError

import embedded

from .supervising import Supervised, Supervisor

#: A flush that finds Redis dead or frozen waits as long for it.
_FLUSH_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is done to whom.

    Attributes:
        often: how often it comes in one round of all faults.
        frozen_seconds: shortest and longest time until a stopped process is continued.
    """

    name: str
    often: int = 1
    frozen_seconds: tuple[float, float] | None = None


KINDS = (
    Kind(name="kill web"),
    Kind(name="kill web child"),
    Kind(name="kill worker", often=2),
    Kind(name="kill worker child", often=3),
    Kind(name="kill relay", often=2),
    Kind(name="kill beat"),
    Kind(name="kill redis"),
    Kind(name="kill postgres"),
    Kind(name="flush redis", often=2),
    Kind(name="freeze web", frozen_seconds=(0.5, 3)),
    Kind(name="freeze web child", frozen_seconds=(0.5, 4)),
    Kind(name="freeze worker", frozen_seconds=(0.5, 4)),
    Kind(name="freeze worker child", often=2, frozen_seconds=(0.5, 4)),
    # Longer than a lease: somebody else has taken over what it holds when it wakes up.
    Kind(name="freeze worker child past its lease", frozen_seconds=(9, 12)),
    Kind(name="freeze relay", frozen_seconds=(0.5, 4)),
    Kind(name="freeze beat", frozen_seconds=(0.5, 4)),
    Kind(name="freeze redis", frozen_seconds=(0.5, 3)),
    Kind(name="freeze postgres", frozen_seconds=(0.5, 3)),
)


@dataclass(kw_only=True)
class Fault:
    """One fault: planned, and once it was done, when."""

    at_seconds: float
    kind: Kind
    frozen_seconds: float
    #: From 0 to 1: which child it hits.
    draw: float
    done_at: datetime | None = None
    #: What it hit, for the log.
    hit: str = ""


def schedule(*, seed: int, mean_seconds: float, until_seconds: float) -> list[Fault]:
    """Return the same faults for the same seed: rounds of all kinds, each round in an order of its own."""
    dice = random.Random(f"faults {seed}")
    faults: list[Fault] = []
    deck: list[Kind] = []
    at = 0.0
    while (at := at + dice.uniform(0.5, 1.5) * mean_seconds) < until_seconds:
        if not deck:
            deck = [kind for kind in KINDS for _ in range(kind.often)]
            dice.shuffle(deck)
        kind = deck.pop()
        frozen = dice.uniform(*kind.frozen_seconds) if kind.frozen_seconds else 0.0
        faults.append(Fault(at_seconds=at, kind=kind, frozen_seconds=frozen, draw=dice.random()))
    return faults


@dataclass
class _Frozen:
    """Who was stopped, until when."""

    until: float
    wake: Callable[[], None]


@dataclass
class Trouble:
    """Does the faults at their time, in a thread of its own; whoever was stopped is continued, whatever happens."""

    supervisor: Supervisor
    faults: list[Fault]
    _frozen: list[_Frozen] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    #: A fault that could not be done at all: a mistake of chaos itself.
    error: BaseException | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def done(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.done_at is not None]

    def is_over(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def end(self) -> None:
        """Make no further trouble and continue whoever is stopped."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        started_at = time.monotonic()
        try:
            for fault in self.faults:
                while (wait := started_at + fault.at_seconds - time.monotonic()) > 0:
                    if self._over.wait(min(wait, 0.05)):
                        return
                    self._wake(time.monotonic())
                fault.done_at = timezone.now()
                self._do(fault)
            while self._frozen and not self._over.wait(0.05):
                self._wake(time.monotonic())
        except BaseException as error:  # noqa: BLE001 - the thread has nobody else to tell
            self.error = error
        finally:
            self._wake(float("inf"))

    def _wake(self, now: float) -> None:
        for frozen in [frozen for frozen in self._frozen if frozen.until <= now]:
            self._frozen.remove(frozen)
            frozen.wake()

    def _do(self, fault: Fault) -> None:
        action, _, target = fault.kind.name.removesuffix(" past its lease").partition(" ")
        if action == "flush":
            fault.hit = _flush(lambda: self._over.wait(0.1))
            return
        name, _, child = target.partition(" ")
        if name in self.supervisor.supervised:
            process = self.supervisor.supervised[name]
            found = _pick(process, fault.draw) if child else None
            if found is not None:
                self._hit(found, fault, action)
            else:
                self._hit_group(process, fault, action)
        else:
            server = embedded.Postgres() if name == "postgres" else embedded.Redis()
            pid = server.pid()
            with suppress(psutil.NoSuchProcess):
                if pid is not None:
                    self._hit(psutil.Process(pid), fault, action)

    def _hit(self, process: psutil.Process, fault: Fault, action: str) -> None:
        """Signal one process; psutil refuses an id that is somebody else's by now."""
        with suppress(psutil.NoSuchProcess):
            fault.hit = f"process {process.pid}"
            if action == "kill":
                process.kill()
            else:
                process.suspend()
                self._remember(fault, process.resume)

    def _hit_group(self, supervised: Supervised, fault: Fault, action: str) -> None:
        """Kill the leader and leave the rest to the supervisor; freeze all of it, as a machine that hangs."""
        with supervised.lock:
            process = supervised.process
            if process is None:
                return
            fault.hit = f"process {process.pid}"
            if action == "kill":
                supervised.condemned = True
                os.kill(process.pid, signal.SIGKILL)
                return
            os.killpg(process.pid, signal.SIGSTOP)

        def wake() -> None:
            with supervised.lock:
                if supervised.process is process:
                    os.killpg(process.pid, signal.SIGCONT)

        self._remember(fault, wake)

    def _remember(self, fault: Fault, wake: Callable[[], None]) -> None:
        def safely() -> None:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                wake()

        self._frozen.append(_Frozen(until=time.monotonic() + fault.frozen_seconds, wake=safely))


def _pick(process: Supervised, draw: float) -> psutil.Process | None:
    children = process.children()
    return children[int(draw * len(children))] if children else None


def _flush(pause: Callable[[], bool]) -> str:
    """Empty Redis, if need be once it is back; return what was lost."""
    path = embedded.broker_url().removeprefix("redis+socket://").partition("?")[0]
    deadline = time.monotonic() + _FLUSH_SECONDS
    while time.monotonic() < deadline:
        with suppress(RedisError, OSError), Redis(unix_socket_path=path, socket_timeout=1) as broker:
            keys = broker.dbsize()
            broker.flushall()
            return f"{keys} keys"
        if pause():
            break
    return ""
