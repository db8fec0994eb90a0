"""The relay that follows the write-ahead log, as a real process: killed, doubled, cut off from its database."""

import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

import embedded
from inventory import services as inventory
from orders import services as orders
from orders.models import Order
from sagas.cdc import slots
from sagas.core.cause import Cause, caused_by
from sagas.core.ids import new_id
from sagas.models import AuditRecord, Delivery, Event, Run
from tests.conftest import Processes, wait_for
from tests.factories.orders import Place

from .conftest import all_are, all_completed, assert_all_done_once, state
from .test_servers import kill_and_wait

Start = Callable[[], Any]
SLOT = "tests_relay"
FOLLOW = ("relay", f"--slot={SLOT}")


def followed_by() -> int | None:
    """Return the process of the server that sends the slot's log, if somebody follows it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [SLOT])
        row = cursor.fetchone()
        return row[0] if row else None


def is_confirmed() -> bool:
    """Say whether the slot was read to the end of what is written now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_lsn()")
        (written,) = cursor.fetchone()

    def reached() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s",
                [written, SLOT],
            )
            return bool(cursor.fetchone()[0])

    return bool(wait_for(reached))


def all_in_the_log() -> bool:
    return not Event.objects.filter(log_position=None).exists()


@pytest.fixture
def follower(processes: Processes) -> Iterator[Start]:
    """Start a relay on the slot and wait until it follows; the slot is dropped at the end."""

    def start() -> Any:
        process = processes.manage(*FOLLOW)
        wait_for(followed_by, why=lambda: processes.log(process).decode())
        return process

    yield start
    for process in processes.started:
        processes.stop(process)
    wait_for(lambda: followed_by() is None)
    slots.drop(SLOT)


def test_orders_are_done_by_a_relay_that_is_told_by_the_log(
    place: Place, processes: Processes, follower: Start
) -> None:
    """No beat, and no other relay: who tells it of an order is PostgreSQL."""
    place()
    follower()
    processes.worker("orders,inventory,payments,notifications,sagas")
    for _ in range(9):
        place()
    wait_for(lambda: all_are("confirmed") and all_completed(10), why=state)
    assert_all_done_once(10)
    wait_for(all_in_the_log)


def test_a_rolled_back_order_is_not_told(place: Place, follower: Start) -> None:
    follower()
    with transaction.atomic():
        place()
        transaction.set_rollback(True)
    place()
    wait_for(lambda: Run.objects.count() == 1)
    wait_for(is_confirmed)
    assert (Run.objects.count(), Event.objects.count(), Order.objects.count()) == (1, 1, 1)


#: Dies when it is about to tell PostgreSQL how far it has come.
_DIES_BEFORE_IT_CONFIRMS = """
import os, signal, sys
import django
django.setup()
from django.core.management import call_command
from sagas.cdc.stream import Stream
from sagas.models import Run
confirm = Stream.confirm
def die(self, lsn):
    if Run.objects.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    confirm(self, lsn)
Stream.confirm = die
call_command(*sys.argv[1:])
"""


def test_a_relay_killed_between_its_commit_and_the_confirmation_does_nothing_twice(
    place: Place, processes: Processes, follower: Start
) -> None:
    dying = processes.run([sys.executable, "-c", _DIES_BEFORE_IT_CONFIRMS, *FOLLOW])
    wait_for(followed_by, why=lambda: processes.log(dying).decode())
    for _ in range(3):
        place()
    wait_for(lambda: dying.poll() is not None)
    assert dying.returncode == -signal.SIGKILL
    assert Run.objects.exists()
    follower()
    wait_for(lambda: Run.objects.count() == 3)
    wait_for(is_confirmed)
    processes.worker("orders,inventory,payments,notifications,sagas")
    wait_for(lambda: all_are("confirmed") and all_completed(3), why=state)
    assert_all_done_once(3)
    wait_for(lambda: all_in_the_log() and not Delivery.objects.exclude(status="done").exists())
    positions = list(Event.objects.order_by("log_position").values_list("log_position", flat=True))
    assert positions == list(range(1, len(positions) + 1))


def test_a_relay_goes_on_when_its_database_was_killed(place: Place, processes: Processes, follower: Start) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    following = follower()
    place()
    wait_for(lambda: Run.objects.count() == 1)
    kill_and_wait(embedded.Postgres())
    place()
    wait_for(lambda: Run.objects.count() == 2)
    wait_for(is_confirmed)
    assert following.poll() is None
    assert b"database_away" in processes.log(following)
    assert list(Event.objects.order_by("log_position").values_list("log_position", flat=True)) == [1, 2]


def test_a_second_one_says_that_the_slot_is_in_use_and_takes_over(
    place: Place, processes: Processes, follower: Start
) -> None:
    first = follower()
    second = processes.manage(*FOLLOW)
    wait_for(lambda: b"standing_by" in processes.log(second), why=lambda: processes.log(second).decode())
    assert b"in use by another process" in processes.log(second)
    sender = followed_by()
    place()
    wait_for(lambda: Run.objects.count() == 1)
    processes.kill(first)
    wait_for(lambda: followed_by() not in (None, sender), why=lambda: processes.log(second).decode())
    place()
    wait_for(lambda: Run.objects.count() == 2)


def test_an_import_in_one_transaction_and_an_order_by_hand_all_become_runs(
    shelves: None, place: Place, follower: Start
) -> None:
    inventory.receive({"MUG": 100_000})
    follower()
    request = orders.OrderRequest(
        customer_email="ada@example.com",
        customer_name="Ada Lovelace",
        payment_method="tok_visa",
        lines=[orders.LineRequest(sku="MUG", quantity=1)],
    )
    with transaction.atomic(), caused_by(Cause(correlation_id=new_id(), low_priority=True)):
        for _ in range(8):
            orders.place_many([request] * 500, now=timezone.now())
    by_hand = place()
    wait_for(lambda: Run.objects.filter(key=str(by_hand.id)).exists())
    wait_for(lambda: Run.objects.count() == 4_001, seconds=60)
    assert all_in_the_log()
    wait_for(is_confirmed)


def test_it_stops_in_order_and_lets_go_of_the_slot(place: Place, processes: Processes, follower: Start) -> None:
    following = follower()
    place()
    wait_for(lambda: Run.objects.count() == 1)
    following.send_signal(signal.SIGTERM)
    wait_for(lambda: following.poll() is not None)
    assert following.returncode == 0
    wait_for(lambda: followed_by() is None)
    dropping = processes.manage("relay", "--drop-slot", f"--slot={SLOT}")
    wait_for(lambda: dropping.poll() is not None)
    assert b"The slot tests_relay is dropped." in processes.log(dropping)


_WHAT_CELERY_HEARS = """
import django
django.setup()
from sagas.log import outbox
from sagas.messaging.waker import waker
from shop.celery import app
print(sorted(app.conf.beat_schedule), outbox._wake_relay == waker.wake)
"""


def test_celery_hears_nothing_where_a_process_of_its_own_relays(processes: Processes) -> None:
    for relays, told in (
        ("celery", b"['ask-workers', 'celery.backend_cleanup', 'follow', 'reconcile', 'relay', 'sweep'] True"),
        ("process", b"['ask-workers', 'celery.backend_cleanup', 'follow', 'reconcile'] False"),
    ):
        asked = processes.run([sys.executable, "-c", _WHAT_CELERY_HEARS], SAGAS_RELAY=relays)
        assert asked.wait(60) == 0
        assert processes.log(asked).strip() == told


def test_celerys_relay_and_one_that_follows_the_log_do_nothing_twice(
    place: Place, processes: Processes, follower: Start
) -> None:
    follower()
    processes.worker()
    processes.beat()
    for _ in range(20):
        place()
    wait_for(lambda: all_are("confirmed") and all_completed(20), why=state)
    assert_all_done_once(20)
    wait_for(lambda: all_in_the_log() and not Delivery.objects.exclude(status="done").exists())
    wait_for(is_confirmed)


def test_the_trail_goes_on_when_its_process_was_killed(shelves: None, processes: Processes) -> None:
    following = processes.manage("changes", f"--slot={SLOT}")
    wait_for(followed_by, why=lambda: processes.log(following).decode())
    try:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orders_product SET price_minor = 1 WHERE sku = 'MUG'")
        wait_for(lambda: AuditRecord.objects.filter(name="MUG").exists())
        processes.kill(following)
        wait_for(lambda: followed_by() is None)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orders_product SET price_minor = 2 WHERE sku = 'MUG'")
        following = processes.manage("changes", f"--slot={SLOT}")
        wait_for(lambda: AuditRecord.objects.filter(name="MUG").count() == 2)
        wait_for(is_confirmed)
        prices = AuditRecord.objects.filter(name="MUG").order_by("id").values_list("before", "after")
        assert list(prices) == [
            ({"price_minor": "1000"}, {"price_minor": "1"}),
            ({"price_minor": "1"}, {"price_minor": "2"}),
        ]
    finally:
        processes.kill(following)
        wait_for(lambda: followed_by() is None)
        slots.drop(SLOT)
