"""A process of a contender that is no Celery worker: `python -m benchmarks.child KIND NUMBER`.

It gets commands as lines of JSON, and answers each with one: `load` placed orders, `go` to process them, `place` one
and process it at once.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import django

from .apps import PEER

Orders = Sequence[dict[str, Any]]


def main() -> None:
    kind, number = sys.argv[1:]
    os.environ[PEER] = kind
    django.setup()
    go, place = _work(kind, number)
    loaded: Orders = []
    # What the libraries print must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    _answer(answers, ready=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "load" in asked:
            loaded = asked["load"]
            _answer(answers, loaded=len(loaded))
        elif "go" in asked:
            go(loaded)
            _answer(answers, done=len(loaded))
        else:
            asked_at = time.time()
            order = _place(asked["place"])
            place([order])
            _answer(answers, order=order, asked_at=asked_at)


def _work(kind: str, number: str) -> tuple[Callable[[Orders], None], Callable[[Orders], None]]:
    """Return the functions for loaded orders, and for one that was just placed."""
    if kind == "plain":
        return _fulfil, _fulfil
    if kind == "orm-floor":
        from .floors import by_the_orm

        return by_the_orm, by_the_orm
    if kind == "sql-floor":
        from .floor_in_sql import by_sql

        return by_sql, by_sql
    if kind == "relay":
        return _relay_all, _relay_all
    from . import dbos_flow

    dbos_flow.launch(kind, f"{kind}-{number}")
    return (dbos_flow.start, dbos_flow.start) if kind == "dbos-direct" else (dbos_flow.enqueue, dbos_flow.enqueue_here)


def _fulfil(orders: Orders) -> None:
    from orders.events import OrderPlaced

    from . import flow

    for order in orders:
        flow.fulfil(OrderPlaced.read(order, version=OrderPlaced.version), order["order_id"])


def _relay_all(_: Orders) -> None:
    """Relay events until there are none, as the relay's task does."""
    from sagas.conf import conf
    from sagas.db import clock
    from sagas.log.relay import relay_events
    from sagas.messaging.publish import send

    while (relayed := relay_events(now=clock.now(), limit=conf.RELAY_LIMIT)).events:
        send(relayed.wake_ups, relayed.deliveries)


def _place(seed: str) -> dict[str, Any]:
    from . import ground

    (order,) = ground.place(ground.requests(1, seed=seed))
    return order


def _answer(to: Any, **what: Any) -> None:
    to.write(json.dumps(what) + "\n")
    to.flush()


if __name__ == "__main__":
    main()
