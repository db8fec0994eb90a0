"""Health through the HTTP API, and what is answered while a server is down."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from redis import Redis

from sagas.books.reconciliation import reconcile
from sagas.db import clock
from sagas.models import Event
from shop.api import health as shop_health
from shop.reconciliation import LATE_SECONDS
from tests.conftest import ROOT, broker
from tests.factories.orders import Place

from .conftest import body

pytestmark = pytest.mark.usefixtures("longest_pauses")


def test_a_shop_that_is_well_says_so_without_a_token(transactional_db: None) -> None:
    response = Client().get("/api/health")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "database": True,
        "broker": True,
        "outbox_lag_seconds": 0.0,
        "needing_attention": 0,
        "open_findings": 0,
        "silent_queues": {},
        "reconciled_seconds_ago": None,
    }


@pytest.mark.parametrize(("late", "status"), [(-30.0, "ok"), (1.0, "degraded")])
def test_books_that_nobody_looks_at_degrade_the_shop(transactional_db: None, late: float, status: str) -> None:
    long_ago = clock.now() - timedelta(seconds=LATE_SECONDS + late)
    reconcile(now=long_ago, checks=())
    answer = Client().get("/api/health").json()
    assert answer["status"] == status
    assert answer["reconciled_seconds_ago"] == pytest.approx(LATE_SECONDS + late, abs=29)


def test_events_that_wait_too_long_degrade_the_shop(place: Place) -> None:
    place(now=datetime.fromisoformat("2026-01-01T00:00:00Z"))
    answer = Client().get("/api/health").json()
    assert answer["status"] == "degraded"
    assert answer["outbox_lag_seconds"] > shop_health.LAG_SECONDS


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word: worse than one that refuses them."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


def run_python(code: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


ASK_HEALTH = """
import json, time
import django; django.setup()
from django.test import Client
started = time.monotonic()
response = Client().get("/api/health", headers={"host": "localhost"})
print(json.dumps({"seconds": time.monotonic() - started, "status": response.status_code, "document": response.json()}))
"""


@pytest.mark.parametrize("kind", ["silent", "refusing"])
def test_health_answers_in_two_seconds_while_every_server_is_down(silent_server: int, kind: str) -> None:
    port = silent_server if kind == "silent" else 1
    answer = run_python(
        ASK_HEALTH,
        DJANGO_SETTINGS_MODULE="shop.settings",
        SECRET_KEY="x" * 50,
        HTTPS="off",
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/none",
        CELERY_BROKER_URL=f"redis://127.0.0.1:{port}/0",
    )
    assert answer["status"] == 503
    assert answer["seconds"] < 3.0
    assert answer["document"] | {"type": ""} == {
        "type": "",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Does not work: database, broker.",
        "errors": [],
        "database": False,
        "broker": False,
        "outbox_lag_seconds": None,
        "needing_attention": None,
        "open_findings": None,
        "silent_queues": None,
        "reconciled_seconds_ago": None,
    }


def refuse_for_memory(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)


def refuse_as_a_replica(redis: Redis) -> None:
    redis.replicaof("127.0.0.1", 1)


@pytest.fixture
def full_redis() -> Iterator[Redis]:
    with broker() as redis:
        redis.flushdb()
        yield redis
        redis.replicaof("no", "one")
        redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("refuse", [refuse_for_memory, refuse_as_a_replica])
def test_a_broker_that_answers_and_takes_no_message_is_down(
    transactional_db: None, full_redis: Redis, refuse: Callable[[Redis], None]
) -> None:
    assert Client().get("/api/health").json()["status"] == "ok"
    assert full_redis.keys("*") == []  # the probe leaves nothing behind
    refuse(full_redis)
    answer = Client().get("/api/health")
    assert full_redis.ping()
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Does not work: broker."
    assert (answer.json()["database"], answer.json()["broker"]) == (True, False)


PLACE_TWENTY = """
import json, sys, time
import django; django.setup()
from django.test import Client
from shop.celery import app
app.conf.broker_url = sys.argv[1] if len(sys.argv) > 1 else {broker!r}
def post():
    started = time.monotonic()
    response = Client().post("/api/orders", {body!r}, content_type="application/json",
                             headers={{"Authorization": "Bearer test-token", "Host": "localhost"}})
    return response.status_code, time.monotonic() - started
post()
answers = [post() for _ in range(20)]
print(json.dumps({{"statuses": [status for status, _ in answers], "slowest": max(seconds for _, seconds in answers)}}))
"""


@pytest.mark.parametrize("kind", ["silent", "refusing"])
def test_placing_does_not_wait_for_a_broker_that_is_down(
    shelves: None, tmp_path: Path, silent_server: int, kind: str
) -> None:
    broker = f"redis://127.0.0.1:{silent_server if kind == 'silent' else 1}/0"
    answer = run_python(
        PLACE_TWENTY.format(broker=broker, body=json.dumps(body())),
        DJANGO_SETTINGS_MODULE="tests.worker_settings",
        TEST_DATABASE=connection.settings_dict["NAME"],
        TEST_MAIL=str(tmp_path),
    )
    assert answer["statuses"] == [201] * 20
    assert answer["slowest"] < 1.0
    assert Event.objects.filter(log_position=None).count() == 21
