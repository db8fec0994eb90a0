"""A subscription that is added late catches up from the beginning while orders flow."""

import os
import time
from collections.abc import Iterator

import pytest
from django.db import connection
from django.utils import timezone

from benchmarks.filling import fill
from orders.models import Order
from sagas.models import Event
from sagas.operations import queries
from tests.conftest import Processes, wait_for
from tests.factories.orders import Place

from .conftest import state

#: As many as one likes to wait for: 100,000 take about a minute and a half.
EVENTS = int(os.environ.get("CATCH_UP_EVENTS", "6000"))
ORDERS_MEANWHILE = 20


@pytest.fixture
def table(transactional_db: None) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE analytics (event_id uuid PRIMARY KEY, key text, log_position bigint, n serial)")
        yield
        cursor.execute("DROP TABLE analytics")


def noted() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM analytics")
        return int(cursor.fetchone()[0])


def owed() -> int:
    return Event.objects.filter(type__startswith="orders.").count()


@pytest.mark.timeout(900)
def test_a_subscription_that_is_added_catches_up_from_the_beginning_while_orders_flow(
    place: Place, table: None, processes: Processes
) -> None:
    fill(orders=EVENTS // 10, events=EVENTS, show=lambda _: None)
    old = owed()
    processes.ready(
        processes.start("worker", "-n", "new@test", "-c", "2", "-l", "info", "-I", "tests.faults.analytics")
    )
    processes.beat()
    began, took = time.monotonic(), []
    wait_for(lambda: noted() > 0, why=state)
    for _ in range(ORDERS_MEANWHILE):
        order = place()
        placed_at = time.monotonic()
        wait_for(lambda order=order: Order.objects.get(pk=order.pk).status == "confirmed", why=state)  # type: ignore[misc]
        took.append(time.monotonic() - placed_at)
    at_the_last_order = noted()
    wait_for(lambda: noted() == owed(), seconds=600, why=lambda: f"{noted()} of {owed()}")
    seconds = time.monotonic() - began
    print(  # noqa: T201 - measured, for who runs it with more
        f"{old} old events of {EVENTS:,} in {seconds:.1f} s, {old / seconds:,.0f} a second;"
        f" orders meanwhile: p50 {sorted(took)[len(took) // 2] * 1000:.0f} ms, max {max(took) * 1000:.0f} ms,"
        f" {at_the_last_order} noted at the last one"
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM (SELECT key, n, lag(n) OVER (PARTITION BY key ORDER BY log_position) AS before"
                       " FROM analytics) AS line WHERE before > n LIMIT 1")  # fmt: skip
        assert cursor.fetchone() is None, "out of order within a key"
    (lag,) = [lag for lag in queries.followers(now=timezone.now()) if lag.name == "analytics"]
    assert (lag.events, lag.waiting, lag.parked) == (0, 0, 0)
