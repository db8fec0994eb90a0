"""Events a second of one relay process, from a backlog, without a worker on the machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from notifications.events import NotificationKind, NotificationQueued
from sagas.core.ids import new_id
from sagas.db import clock
from sagas.log import outbox

from . import ground, judging, processes
from .judging import WrongRows
from .results import Book, Measured

_WARM_UP = 500
#: Events of one transaction.
_PORTION = 500


@dataclass(frozen=True, kw_only=True)
class _Backlog:
    """Waiting events, and the number of rows of each table for one event."""

    name: str
    leave: Callable[[int], object]
    rows: dict[str, int]


def starts(book: Book, logs: Path, *, events: int, seed: str) -> list[Measured]:
    """Measure events that start a run each."""
    rows = {"sagas_run": 1, "sagas_steprun": 6}
    backlog = _Backlog(name="starts", leave=lambda count: ground.place(ground.requests(count, seed=seed)), rows=rows)
    return _measure(book, logs, backlog, events)


def deliveries(book: Book, logs: Path, *, events: int) -> list[Measured]:
    """Measure events that are owed to one subscription each."""
    return _measure(book, logs, _Backlog(name="deliveries", leave=_owe, rows={"sagas_delivery": 1}), events)


def _measure(book: Book, logs: Path, backlog: _Backlog, events: int) -> list[Measured]:
    relay = processes.child("relay", 0, log=logs / "relay-alone.log")
    try:
        relay.hear()
        backlog.leave(min(_WARM_UP, events))
        relay.say(go=True)
        relay.hear()
        backlog.leave(events)
        before = ground.mark()
        ground.settle()
        began_at = time.monotonic()
        relay.say(go=True)
        relay.hear()
        seconds = time.monotonic() - began_at
        book.remember(f"relay of {backlog.name}", relay.peak_memory())
    finally:
        processes.kill([relay])
    judging.judge_rows(f"the relay ({backlog.name})", events, before, backlog.rows)
    left = ground.not_relayed()
    if left:
        raise WrongRows(f"the relay ({backlog.name})", [f"{left} events are not relayed"])
    return [Measured(what="relay", who=backlog.name, figures={"events a second": events / seconds})]


def _owe(count: int) -> None:
    """Write events for one subscription; its deliveries are not made."""
    for begin in range(0, count, _PORTION):
        with transaction.atomic():
            outbox.emit(
                *(
                    NotificationQueued(
                        notification_id=new_id(),
                        order_id=new_id(),
                        kind=NotificationKind.ORDER_CONFIRMED,
                        channel="email",
                    )
                    for _ in range(min(_PORTION, count - begin))
                ),
                now=clock.now(),
            )
