"""The health check: it answers within two seconds, whatever is down."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import connections

from sagas.db import clock
from sagas.operations import attention, heartbeats
from sagas.operations import queries as sagas
from shop.celery import try_broker

from ..reconciliation import LATE_SECONDS

logger = structlog.get_logger(__name__)

#: A server that takes longer counts as down.
ANSWER_SECONDS = 1.5
#: An event that waits longer shows that no relay runs, or that it cannot keep up; a relay makes a turn each second.
LAG_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Health:
    """The result of the check; the figures are unknown while the database is down."""

    database: bool
    #: It takes messages.
    broker: bool
    outbox_lag_seconds: float | None
    #: Number of keys with a run or a delivery that waits for a person, or for a worker.
    needing_attention: int | None
    open_findings: int | None
    #: Queues that no worker serves, each with its seconds of silence.
    silent_queues: dict[str, float] | None
    #: None also in a new shop, before the first turn of the reconciliation.
    reconciled_seconds_ago: float | None

    @property
    def status(self) -> str:
        if not (self.database and self.broker):
            return "down"
        late = self.outbox_lag_seconds is not None and self.outbox_lag_seconds > LAG_SECONDS
        unchecked = self.reconciled_seconds_ago is not None and self.reconciled_seconds_ago > LATE_SECONDS
        waits = self.needing_attention or self.open_findings or self.silent_queues
        return "degraded" if late or unchecked or waits else "ok"


def health() -> Health:
    """Ask the servers, both at once."""
    until = time.monotonic() + ANSWER_SECONDS
    asked = _figures.ask(), _broker.ask()
    figures, broker = (_answer(future, until) for future in asked)
    known = figures or _Figures()
    return Health(
        database=figures is not None,
        broker=broker is not None,
        outbox_lag_seconds=known.lag_seconds,
        needing_attention=known.needing_attention,
        open_findings=known.open_findings,
        silent_queues=known.silent_queues,
        reconciled_seconds_ago=known.reconciled_seconds_ago,
    )


@dataclass(frozen=True, kw_only=True)
class _Figures:
    """The figures from the database; unknown while it is down."""

    lag_seconds: float | None = None
    needing_attention: int | None = None
    open_findings: int | None = None
    silent_queues: dict[str, float] | None = None
    reconciled_seconds_ago: float | None = None


class _Probe:
    """Asks a server from its own thread; while one waits for an answer, no second one is started."""

    def __init__(self, name: str, question: Callable[[], Any]) -> None:
        self.name, self.question = name, question
        self._lock = threading.Lock()
        self._asked: Future[Any] | None = None

    def ask(self) -> "Future[Any]":
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._work, args=[self._asked], name=f"probe-{self.name}", daemon=True).start()
            return self._asked

    def _work(self, asked: "Future[Any]") -> None:
        try:
            asked.set_result(self.question())
        except Exception as error:  # noqa: BLE001 - any error means that the server is not well
            logger.warning("not_well", server=self.name, error=str(error).strip())
            asked.set_result(None)


def _answer(asked: "Future[Any]", until: float) -> Any:
    try:
        return asked.result(timeout=max(0.0, until - time.monotonic()))
    except TimeoutError:
        return None


def _figures_now() -> _Figures:
    now = clock.now()
    try:
        silent = heartbeats.silent(now=now)
        return _Figures(
            lag_seconds=sagas.lag_seconds(now=now),
            needing_attention=len(attention.stuck_keys(now=now)),
            open_findings=sagas.open_findings(),
            silent_queues={queue: round((now - at).total_seconds(), 1) for queue, at in silent.items()},
            reconciled_seconds_ago=sagas.reconciled_seconds_ago(now=now),
        )
    finally:
        connections.close_all()  # this thread's


def _take_a_message() -> bool:
    try_broker()
    return True


_figures = _Probe("database", _figures_now)
_broker = _Probe("broker", _take_a_message)
