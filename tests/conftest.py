"""What every test may ask for: a catalogue, an order, real worker processes, and conditions instead of sleeps."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker
from redis import Redis

from orders.models import Order
from sagas.core import registry
from sagas.core.subscription import Start, Subscription
from sagas.db import clock as database_clock
from sagas.testing import MovableClock
from shop.celery import app
from shop.wiring import SAGAS, wiring

from .emptying import empty_in_the_cheaper_way
from .factories.orders import TWO_MUGS, Lines, Place, PlacedOrderFactory
from .factories.products import fill_shelves
from .forking import Forked

Process = subprocess.Popen[bytes] | Forked
T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent


class Redefine(Protocol):
    """The fixture `redefine`."""

    def __call__(self, name: str, **parts: Any) -> None: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process begin with the tests that wait, the others with those that take long: they have a timeout marker.

    So there is work for the cores all the time, and no process is left alone with a long test at the end. xdist gives
    each process a piece of the list, and later to each that is done half of the longest piece that is left.
    """

    def waits(item: pytest.Item) -> bool:
        return not {"processes", "chromium"}.isdisjoint(getattr(item, "fixturenames", ()))

    def seconds_allowed(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return marker.args[0] if marker else 0.0

    items.sort(key=seconds_allowed, reverse=True)  # the others stay by module, as its fixtures need them
    waiting = [item for item in items if waits(item)]
    long = [item for item in items if not waits(item) and seconds_allowed(item)]
    others = iter([item for item in items if not waits(item) and not seconds_allowed(item)])
    processes, left = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), len(items)
    items.clear()
    heads = [waiting, *(long[number :: processes - 1] for number in range(processes - 1))] if processes > 1 else [long]
    for number, head in enumerate(heads):
        size = left // (processes - number)
        left -= size
        items += [*head, *islice(others, max(size - len(head), 0))]
    items += others
    if processes == 1:
        items += waiting


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Read the clock once, so that no statement a test counts is a reading; empty tables in the cheaper way.

    Make the Celery app final with the shop's definitions: it would take those of the test that needs it first.
    """
    app.finalize()
    empty_in_the_cheaper_way()
    with django_db_blocker.unblock():
        database_clock.now()
    database_clock._READ_EVERY_SECONDS = 86_400.0


@pytest.fixture
def shelves(transactional_db: None) -> None:
    """Three products with 100 pieces each."""
    fill_shelves()


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def redis() -> Iterator[Redis]:
    """The broker of the tests, empty before and after."""
    with broker() as redis:
        redis.flushdb()
        yield redis
        redis.flushdb()


@pytest.fixture
def choreography() -> Iterator[None]:
    """Have new orders coordinated by events, without a saga."""
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        yield


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every pause last as long as it may: jitter may also draw one that is over at once."""
    monkeypatch.setattr("sagas.core.retry.random.uniform", lambda _, longest: longest)


@pytest.fixture
def place(shelves: None) -> Place:
    """Place an order of two mugs; everything can be said otherwise."""

    def place(payment_method: str = "tok_visa", *, lines: Lines = TWO_MUGS, **more: Any) -> Order:
        return PlacedOrderFactory.create(payment_method=payment_method, of=lines, **more)

    return place


@pytest.fixture
def redefine(transactional_db: None) -> Iterator[Redefine]:
    """Change a step of a saga, or a subscription, by its name, for the rest of the test."""

    def redefine(name: str, **parts: Any) -> None:
        changed = [_redefined(known, name, parts) for known in registry.subscriptions()]
        registry.activate(registry.current().rewired(changed))

    with registry.current().active():  # it is the current one again after the test
        yield redefine


def _redefined(subscription: Subscription, name: str, parts: dict[str, Any]) -> Subscription:
    if isinstance(subscription, Start):
        saga = subscription.saga
        steps = tuple(replace(step, **parts) if step.name == name else step for step in saga.steps)
        return replace(subscription, saga=replace(saga, steps=steps))
    return replace(subscription, **parts) if subscription.name == name else subscription


def broker() -> Redis:
    """Connect to the Redis of the tests.

    Empty it with `flushdb`: Celery's own `purge` leaves what a killed worker had in hand, and the next worker after
    the visibility timeout, in another test, is given it.
    """
    path, _, database = settings.CELERY_BROKER_URL.removeprefix("redis+socket://").partition("?virtual_host=")
    return Redis(unix_socket_path=path, db=int(database))


def wait_for(what: Callable[[], T], *, seconds: float = 30.0, why: Callable[[], str] = str) -> T:
    """Return what the condition returns once that is true; fail with the last answer when time is up."""
    until = time.monotonic() + seconds
    while not (answer := what()):
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds:g} s in vain; last answer: {answer!r} {why()}")
        time.sleep(0.05)
    return answer


class Processes:
    """Real workers and beats on the test's database and broker; all of them are gone at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Process] = []
        self.mail = folder / "mail"

    def start(self, *arguments: str, **environment: str) -> Process:
        """Start `celery -A shop`."""
        if "LD_PRELOAD" in environment:  # only a new program loads it
            return self.run([sys.executable, "-m", "celery", "-A", "shop", *arguments], **environment)
        forked = Forked(["-A", "shop", *arguments], environment=self.environment() | environment, log=self.next_log)
        self.started.append(forked)
        return forked

    def manage(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        return self.run([sys.executable, "manage.py", *arguments], **environment)

    def run(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        with self.next_log.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment() | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    @property
    def next_log(self) -> Path:
        return self.folder / f"process-{len(self.started)}.log"

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
            "TEST_DATABASE": connection.settings_dict["NAME"],
            "TEST_MAIL": str(self.mail),
        }

    def worker(self, queues: str = "", **more: Any) -> Any:
        """Start a worker, as `coming_worker` does, and wait until it is ready."""
        return self.ready(self.coming_worker(queues, **more))

    def coming_worker(
        self, queues: str = "", *, name: str = "all", concurrency: int = 2, prefetch: int = 4, **environment: str
    ) -> Any:
        """Start a worker and wait for nothing; several can come at the same time."""
        arguments = ["worker", "-n", f"{name}@test", "-c", str(concurrency), "-l", "info"]
        arguments += ["--prefetch-multiplier", str(prefetch)]
        arguments += ["--without-gossip", "--without-mingle", *(["-Q", queues] if queues else [])]
        return self.start(*arguments, **environment)

    def ready(self, process: Process) -> Process:
        wait_for(lambda: b" ready." in self.log(process), why=lambda: self.log(process).decode())
        return process

    def beat(self, **environment: str) -> Process:
        return self.start("beat", "--pidfile=", "-l", "warning", **environment)

    def log(self, process: Process) -> bytes:
        return (self.folder / f"process-{self.started.index(process)}.log").read_bytes()

    def kill(self, process: Process) -> None:
        """Kill -9 a worker with all its children."""
        with suppress(ProcessLookupError):  # the worker has already exited
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, process: Process) -> None:
        """Kill a process if it still runs."""
        if process.poll() is None:
            self.kill(process)

    def mails(self) -> list[str]:
        return [path.read_text() for path in sorted(self.mail.glob("*.eml"))]


@contextmanager
def processes_in(folder: Path) -> Iterator[Processes]:
    processes = Processes(folder)
    try:
        yield processes
    finally:
        with ExitStack() as stopping:  # stops the others when one cannot be stopped
            for process in processes.started:
                stopping.callback(processes.stop, process)


@pytest.fixture
def processes(transactional_db: None, redis: Redis, tmp_path: Path) -> Iterator[Processes]:
    """Start real worker processes; the broker is empty before and after."""
    with processes_in(tmp_path) as started:
        yield started
