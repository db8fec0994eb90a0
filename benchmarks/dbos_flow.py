"""The peer DBOS: the flow as one workflow whose steps are checkpointed in the same PostgreSQL, as its docs write it."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, SetWorkflowID, run_dbos_database_migrations
from django.conf import settings

from orders.events import OrderPlaced

from . import flow

APPLICATION = "shop"
QUEUE = "orders"


@DBOS.workflow()
def fulfil_order(data: dict[str, Any]) -> None:
    order, key = OrderPlaced.read(data, version=OrderPlaced.version), str(DBOS.workflow_id)
    undo: list[Callable[[OrderPlaced, str], None]] = [release]
    try:
        reserve(order, key)
        undo.append(refund)
        capture(order, key)
        tracking_number = ship(order)
    except Exception as error:
        for back in reversed(undo):
            back(order, key)
        send(reject(order, str(error)))
        raise
    confirm(order)
    send(notify(order, tracking_number))


reserve = DBOS.step(name="reserve-stock")(flow.reserve)
release = DBOS.step(name="release-stock")(flow.release)
capture = DBOS.step(name="capture-payment")(flow.capture)
refund = DBOS.step(name="refund")(flow.refund)
ship = DBOS.step(name="book-shipment")(flow.ship)
confirm = DBOS.step(name="confirm-order")(flow.confirm)
notify = DBOS.step(name="notify-customer")(flow.notify)
send = DBOS.step(name="send-notification")(flow.send)
reject = DBOS.step(name="reject-order")(flow.reject)


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """The configuration of DBOS; docs/lab/benchmarks.md says what was tried.

    Attributes:
        threads: workflows that run at once in a process.
        claims: workflows a process takes from the queue before it has finished them.
        polling_seconds: how often a process looks into the queue.
        pool: connections of DBOS itself in a process, beside one of Django's for each thread.
    """

    processes: int = 2
    threads: int
    claims: int = 1
    polling_seconds: float = 1.0
    pool: int = 20


def knobs(of: str) -> Knobs:
    """Return the settings of a contender, or those of the variable `BENCHMARK_DBOS` (JSON), to try others."""
    usual = {"dbos-queue": Knobs(threads=16, claims=32, polling_seconds=0.05), "dbos-direct": Knobs(threads=8)}[of]
    return replace(usual, **json.loads(os.environ.get("BENCHMARK_DBOS", "{}")))


def database_url() -> str:
    """Return the shop's own database: DBOS keeps its books in a schema of it."""
    database = settings.DATABASES["default"]
    return f"postgresql://{database['USER']}@/{database['NAME']}?host={database['HOST']}&port={database['PORT']}"


def migrate() -> None:
    run_dbos_database_migrations(database_url())


def launch(of: str, executor: str) -> None:
    """Start DBOS in this process; it works on the queue from then on, unless workflows are started directly."""
    chosen = knobs(of)
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": database_url(),
        "sys_db_pool_size": chosen.pool,
        "max_executor_threads": chosen.threads,
        "application_version": "1",
        "executor_id": executor,
        "run_migrations": False,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    if of == "dbos-direct":
        # Queues without use are not polled: polling costs statements all the time.
        DBOS.listen_queues([])
        DBOS.launch()
        return
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=chosen.claims,
        polling_interval_sec=chosen.polling_seconds,
        on_conflict="always_update",
    )


def enqueue(orders: Sequence[dict[str, Any]]) -> None:
    """Enqueue from outside, as a web process does."""
    client = DBOSClient(system_database_url=database_url(), application_name=APPLICATION)
    for order in orders:
        client.enqueue(
            {"queue_name": QUEUE, "workflow_name": fulfil_order.__qualname__, "workflow_id": order["order_id"]}, order
        )
    client.destroy()


def enqueue_here(orders: Sequence[dict[str, Any]]) -> None:
    """Enqueue in a process that runs DBOS."""
    for order in orders:
        with SetWorkflowID(order["order_id"]):
            DBOS.enqueue_workflow(QUEUE, fulfil_order, order)


def start(orders: Sequence[dict[str, Any]]) -> None:
    """Start a workflow for each order in this process, and wait for them."""
    handles = []
    for order in orders:
        with SetWorkflowID(order["order_id"]):
            handles.append(DBOS.start_workflow(fulfil_order, order))
    for handle in handles:
        handle.get_result()
