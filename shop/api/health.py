"""Is the shop well? Answered within two seconds, whatever is down."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import connections

from sagas.db import clock
from sagas.operations import queries as sagas
from shop.celery import try_broker

from ..reconciliation import LATE_SECONDS

logger = structlog.get_logger(__name__)

#: A server that takes longer counts as down.
ANSWER_SECONDS = 1.5
#: An event that waits longer tells that no relay is at work, or that it cannot keep up; a relay turns each second.
LAG_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Health:
    """What was found; the figures are unknown while the database is down."""

    database: bool
    #: It takes messages.
    broker: bool
    outbox_lag_seconds: float | None
    needing_attention: int | None
    #: None also on a new shop, of which nobody has looked at the books yet.
    reconciled_seconds_ago: float | None

    @property
    def status(self) -> str:
        if not (self.database and self.broker):
            return "down"
        late = self.outbox_lag_seconds is not None and self.outbox_lag_seconds > LAG_SECONDS
        unchecked = self.reconciled_seconds_ago is not None and self.reconciled_seconds_ago > LATE_SECONDS
        return "degraded" if late or unchecked or self.needing_attention else "ok"


def health() -> Health:
    """Ask the servers, both at once."""
    until = time.monotonic() + ANSWER_SECONDS
    asked = _figures.ask(), _broker.ask()
    figures, broker = (_answer(future, until) for future in asked)
    lag, attention, reconciled = figures or (None, None, None)
    return Health(
        database=figures is not None,
        broker=broker is not None,
        outbox_lag_seconds=lag,
        needing_attention=attention,
        reconciled_seconds_ago=reconciled,
    )


class _Probe:
    """Asks a server from a thread of its own; while one waits for an answer, no second one is started."""

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
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not well
            logger.warning("not_well", server=self.name, error=str(error).strip())
            asked.set_result(None)


def _answer(asked: "Future[Any]", until: float) -> Any:
    try:
        return asked.result(timeout=max(0.0, until - time.monotonic()))
    except TimeoutError:
        return None


def _figures_now() -> tuple[float, int, float | None]:
    try:
        attention = len(sagas.keys_needing_attention()) + sagas.open_findings()
        return sagas.lag_seconds(now=clock.now()), attention, sagas.reconciled_seconds_ago(now=clock.now())
    finally:
        connections.close_all()  # this thread's


def _take_a_message() -> bool:
    try_broker()
    return True


_figures = _Probe("database", _figures_now)
_broker = _Probe("broker", _take_a_message)
