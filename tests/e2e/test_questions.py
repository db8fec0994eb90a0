"""What every such system is asked, each answered by real PostgreSQL, Redis and worker processes."""

import os
import subprocess
import sys

import pytest
from django.utils import timezone
from django_celery_results.models import TaskResult

from notifications.models import Notification
from orders.models import Order
from payments.models import FakeCharge, Payment
from sagas.engine.wake_ups import wake_ups_of
from sagas.messaging.publish import send
from sagas.models import Delivery, Event, Run, StepRun
from tests.asking import stock
from tests.conftest import ROOT, Processes, broker, wait_for
from tests.factories.orders import Place


def all_are(status: str) -> bool:
    return not Order.objects.exclude(status=status).exists()


def has_ended(order: Order) -> bool:
    order.refresh_from_db()
    return order.status != "pending"


def test_the_payment_is_declined_after_the_stock_was_reserved(place: Place, processes: Processes) -> None:
    """The stock is back, the order rejected with the reason, the customer told once, nothing charged."""
    processes.worker()
    processes.beat()
    order = place("tok_chargeDeclined")
    wait_for(lambda: len(processes.mails()) == 1)
    order.refresh_from_db()
    assert (order.status, order.reason) == ("rejected", "Your card was declined.")
    assert stock("MUG") == (100, 0)
    assert "We could not take your order" in processes.mails()[0]
    assert not Payment.objects.filter(status="captured").exists()
    # The failure is among the task results, alone: the steps behind it never ran.
    assert list(TaskResult.objects.values_list("task_name", "status")) == [("payments.capture_payment", "FAILURE")]


def test_the_email_fails_after_the_payment(place: Place, processes: Processes) -> None:
    """Nothing is undone: the order stays confirmed and paid, the message is tried again later, on its own."""
    processes.worker(EMAIL_HOST="127.0.0.1", EMAIL_PORT="1")
    processes.beat()
    order = place()
    failed = wait_for(lambda: Delivery.objects.filter(attempts__gte=2, status="pending").first())
    assert failed is not None
    assert "ConnectionRefusedError" in failed.error
    order.refresh_from_db()
    assert order.status == "confirmed"
    assert Run.objects.get().status == "completed"
    assert Payment.objects.get().status == "captured"
    assert Notification.objects.get().status == "queued"


_PLACE_AND_DIE = """
import os, signal, sys
import django
django.setup()
from django.conf import settings
from django.db import connection, transaction
connection.settings_dict["NAME"] = os.environ["TEST_DATABASE"]
from django.utils import timezone
from django_celery_results.models import TaskResult
from orders import services as orders
with transaction.atomic():
    orders.place(customer_email="a@example.com", customer_name="A", payment_method="tok_visa",
                 lines=[orders.LineRequest(sku="MUG", quantity=1)], now=timezone.now())
    if sys.argv[1] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    connection.run_on_commit.reverse()  # die before anything else that waits for the commit
"""


@pytest.mark.parametrize(("side_of_the_commit", "saved"), [("before", 0), ("after", 1)])
def test_the_event_is_published_exactly_when_the_order_was_saved(
    shelves: None, processes: Processes, side_of_the_commit: str, saved: int
) -> None:
    """A crash before the commit leaves neither order nor event; one after it leaves both, and the relay finds it."""
    died = subprocess.run(
        [sys.executable, "-c", _PLACE_AND_DIE, side_of_the_commit],
        cwd=ROOT,
        env=os.environ | processes.environment(),
        check=False,
    )
    assert died.returncode == -9
    assert (Order.objects.count(), Event.objects.count()) == (saved, saved)
    processes.worker()
    processes.beat()
    if saved:
        wait_for(lambda: all_are("confirmed"))
    assert Run.objects.count() == saved


def test_a_worker_is_killed_in_the_middle_of_a_chain(place: Place, processes: Processes) -> None:
    """Another worker takes the run on from where the journal stands: the provider is asked, not charged again."""
    # The provider charges and its answer takes ten seconds: the worker dies waiting for it.
    doomed = processes.worker(PAYMENTS_TIMEOUT_SECONDS="10")
    processes.beat()
    order = place("tok_lostReply")
    wait_for(lambda: FakeCharge.objects.filter(status="charged").exists())
    processes.kill(doomed)
    assert StepRun.objects.get(name="capture-payment").status == "running"
    processes.worker(name="next")
    wait_for(lambda: has_ended(order))
    assert order.status == "confirmed"
    assert list(FakeCharge.objects.values_list("status", "calls")) == [("charged", 1)]
    assert stock("MUG") == (98, 0)
    wait_for(lambda: len(processes.mails()) == 1)


@pytest.mark.timeout(180)
def test_redis_is_flushed_with_a_hundred_runs_under_way(place: Place, processes: Processes) -> None:
    """Messages are wake-ups: the sweep sends others, and every order ends, charged once."""
    orders = [place(lines=(("MUG", 1),)) for _ in range(100)]
    processes.worker(concurrency=1, SAGAS_BATCH_SIZE="5")
    processes.beat()
    wait_for(lambda: Run.objects.filter(status="running").exists())
    wait_for(lambda: 0 < Order.objects.filter(status="confirmed").count() < len(orders))
    with broker() as redis:
        redis.flushdb()
    assert not all_are("confirmed")
    wait_for(lambda: all_are("confirmed"), seconds=60)
    assert FakeCharge.objects.filter(status="charged", calls=1).count() == 100
    assert Payment.objects.filter(status="captured").count() == 100
    assert stock("MUG") == (0, 0)


def test_the_same_event_is_delivered_twice(place: Place, processes: Processes) -> None:
    """One run, one charge, one parcel, one mail: the second finds nothing to do."""
    order = place()
    processes.worker()
    processes.beat()
    wait_for(lambda: len(processes.mails()) == 1)
    Event.objects.update(log_position=None)
    run = Run.objects.get()
    run.status, run.place = "running", 0  # as the message saw it when it was sent
    send(wake_ups_of([run]) * 2)
    wait_for(lambda: not Event.objects.filter(log_position=None).exists())
    second = place()
    wait_for(lambda: len(processes.mails()) == 2)
    assert Run.objects.filter(key=order.id).count() == 1
    assert Payment.objects.filter(order_id=order.id).count() == 1
    assert has_ended(second)
    assert stock("MUG") == (96, 0)


def test_the_inventory_worker_is_away_for_a_while(place: Place, processes: Processes) -> None:
    """The others stay at work; what waits for the warehouse is caught up when it returns."""
    processes.worker("orders,payments,notifications,sagas,relay", name="others")
    processes.beat()
    orders = [place() for _ in range(10)]
    wait_for(lambda: Run.objects.count() == len(orders))
    assert all_are("pending")
    declined_before = timezone.now()
    processes.worker("inventory", name="warehouse")
    wait_for(lambda: all_are("confirmed"))
    assert Order.objects.filter(decided_at__gt=declined_before).count() == len(orders)
    assert stock("MUG") == (80, 0)
