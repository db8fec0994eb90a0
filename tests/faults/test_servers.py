"""Servers that are killed while orders flow, or are not there when one is placed.

Each run of the tests has servers of its own, kept by a keeper that starts them again.
"""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection, connections

import embedded
from orders.models import Order
from sagas.models import Event, Run
from tests.conftest import ROOT, Processes, wait_for
from tests.factories.orders import Place

from .conftest import all_are, all_completed, assert_all_done_once, confirmed, state


def kill_and_wait(server: embedded.Server, *, away_seconds: float = 0) -> None:
    """Kill -9 a server; return once its keeper has started another that answers, without our connections to the old.

    Args:
        away_seconds: the keeper is stopped for these seconds; otherwise it starts the next server at once.
    """
    killed, keeper = server.pid(), int(server.keeper.read_text())
    assert killed is not None
    os.kill(keeper, signal.SIGSTOP)
    try:
        os.kill(killed, signal.SIGKILL)
        time.sleep(away_seconds)
    finally:
        os.kill(keeper, signal.SIGCONT)
    try:
        wait_for(lambda: server.pid() not in (None, killed) and server.answers())
    finally:
        connections.close_all()


@pytest.mark.timeout(180)
def test_redis_is_killed_while_orders_flow(place: Place, processes: Processes) -> None:
    # A chain an order: together they would perhaps be done before the server is dead.
    workers = [processes.worker(name=name, concurrency=1, SAGAS_BATCH_SIZE="1") for name in ("first", "second")]
    processes.beat()
    for _ in range(25):
        place()
    assert confirmed() < 25
    kill_and_wait(embedded.Redis())
    for _ in range(15):
        place()
    wait_for(lambda: all_completed(40), why=state, seconds=60)
    assert_all_done_once(40)
    assert [worker.poll() for worker in workers] == [None, None]


@pytest.mark.timeout(180)
def test_postgresql_is_killed_while_orders_flow(place: Place, processes: Processes) -> None:
    with connection.cursor() as cursor:
        # Or it would first replay what other tests have written, for longer than workers wait.
        cursor.execute("CHECKPOINT")
    workers = [processes.worker(name=name, concurrency=1, SAGAS_BATCH_SIZE="1") for name in ("first", "second")]
    processes.beat()
    for _ in range(25):
        place()
    wait_for(confirmed, why=state)
    assert confirmed() < 25
    # In a shorter outage it may happen that no worker begins a step.
    kill_and_wait(embedded.Postgres(), away_seconds=1)
    assert Order.objects.count() == Event.objects.filter(type="orders.order_placed").count() == 25
    for _ in range(15):
        place()
    wait_for(lambda: all_completed(40), why=state, seconds=60)
    assert_all_done_once(40)
    assert [worker.poll() for worker in workers] == [None, None]
    # The outage used up no message: who had one waited with it.
    said = b"".join(processes.log(worker) for worker in workers)
    assert b"database_away" in said
    assert re.findall(rb"Task (?!sagas\.)\S+ raised unexpected", said) == []


@pytest.fixture
def broker_that_hangs() -> Iterator[str]:
    """A broker that takes connections and never says a word."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        path = Path(folder) / "redis.sock"
        listening.bind(str(path))
        listening.listen(16)
        yield f"redis+socket://{path}?virtual_host=0"


_PLACE_WITHOUT_BROKER = """
import json, os, sys, threading, time
import django
django.setup()
os.environ["CELERY_BROKER_URL"] = sys.argv[1]  # Celery prefers it to the settings, which set it to the real one
from django.db import connection
from django.utils import timezone
from orders import services as orders
from sagas.messaging import tasks
from shop.celery import app
assert app.connection_for_write().as_uri().startswith(sys.argv[1].partition("?")[0])

def place():
    started = time.monotonic()
    orders.place(customer_email="a@example.com", customer_name="A", payment_method="tok_visa",
                 lines=[orders.LineRequest(sku="MUG", quantity=2)], now=timezone.now())
    return time.monotonic() - started

connection.ensure_connection()
seconds = [place() for _ in range(10)]
# What each of them would have cost had it waited for the broker.
told = threading.Thread(target=tasks.relay.apply_async, kwargs={"queue": "relay", "retry": False}, daemon=True)
told.start()
told.join(2)
print(json.dumps({"seconds": sum(seconds), "hangs": told.is_alive()}))
"""


def test_an_order_placed_while_the_broker_hangs_costs_the_request_nothing(
    shelves: None, processes: Processes, broker_that_hangs: str
) -> None:
    placed = subprocess.run(
        [sys.executable, "-c", _PLACE_WITHOUT_BROKER, broker_that_hangs],
        cwd=ROOT,
        env=os.environ | processes.environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    cost = json.loads(placed.stdout)
    assert cost["hangs"]
    assert cost["seconds"] < 1
    assert (Order.objects.count(), Event.objects.filter(log_position=None).count()) == (10, 10)
    processes.worker()
    processes.beat()
    wait_for(lambda: all_are("confirmed") and all_completed(10), why=state)
    assert_all_done_once(10)


_RELAY_WITHOUT_BROKER = """
import json, os, sys, time
import django
django.setup()
os.environ["CELERY_BROKER_URL"] = sys.argv[1]  # Celery prefers it to the settings, which set it to the real one
from django.utils import timezone
from orders import services as orders
from sagas.messaging.tasks import relay_turn
from sagas.messaging.waker import waker
from shop.celery import app
assert sys.argv[1].endswith(f":{app.connection_for_write().port}")
app.conf.broker_transport_options |= {"max_retries": 0}  # or each try would take half a second

started = time.monotonic()
for _ in range(20):
    orders.place(customer_email="a@example.com", customer_name="A", payment_method="tok_visa",
                 lines=[orders.LineRequest(sku="MUG", quantity=2)], now=timezone.now())
    relay_turn()
assert waker._thread.is_alive()
print(json.dumps({"seconds": time.monotonic() - started}))
"""


def test_while_the_broker_refuses_connections_the_log_says_it_ever_more_rarely_and_not_for_each_event(
    shelves: None, processes: Processes
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and it does not listen
        relaying = processes.run(
            [sys.executable, "-c", _RELAY_WITHOUT_BROKER, f"redis://127.0.0.1:{taken.getsockname()[1]}"]
        )
        code = relaying.wait(60)
    said = processes.log(relaying).decode()
    assert code == 0, said
    *lines, end = [json.loads(line) for line in said.splitlines()]
    assert (Run.objects.count(), Event.objects.filter(log_position=None).count()) == (20, 0)
    assert {line["event"] for line in lines} == {"not_published"}
    # At once, after a second, after two more, after four more …
    assert 1 <= len(lines) <= 1 + math.log2(1 + end["seconds"])
