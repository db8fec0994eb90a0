"""Workers and beats that die, come twice or run old code."""

import os
import signal
from datetime import datetime

import psutil
from django.db import transaction

from inventory.models import StockItem
from orders.models import Order
from payments.models import FakeCharge
from sagas.models import Delivery, Event, Heartbeat, Run, StepRun
from sagas.operations import heartbeats
from tests.asking import stock
from tests.concurrency import another_waits_for_us, at_once
from tests.conftest import Process, Processes, wait_for
from tests.factories.orders import Place

from .conftest import (
    all_are,
    all_completed,
    assert_all_done_once,
    confirmed,
    message_ids,
    state,
)


def kill_child(worker: Process) -> int:
    """Kill -9 the one process that does the work of a prefork worker; return its id."""
    (child,) = psutil.Process(worker.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    return int(child.pid)


def has_another_child(worker: Process, killed: int) -> bool:
    return any(child.pid != killed for child in psutil.Process(worker.pid).children())


def test_two_beats_and_two_relays_do_nothing_twice(place: Place, processes: Processes) -> None:
    processes.worker("relay", name="relay1", concurrency=1)
    processes.worker("relay", name="relay2", concurrency=1)
    processes.worker("orders,inventory,payments,notifications,sagas", name="steps")
    processes.beat()
    processes.beat()
    for done in range(10, 51, 10):
        for _ in range(10):
            place()
        wait_for(lambda done=done: confirmed() >= done - 5, why=state)  # type: ignore[misc]
    wait_for(lambda: all_are("confirmed"), why=state)
    wait_for(lambda: all_completed(50), why=state)
    wait_for(lambda: len(message_ids(processes)) >= 50, why=state)
    assert_all_done_once(50)
    assert len(message_ids(processes)) == 50
    # A mail that was sent again would be the same file: what counts is how often it was handed over.
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}
    assert set(FakeCharge.objects.values_list("calls", flat=True)) == {1}
    assert set(StepRun.objects.exclude(status="skipped").values_list("attempts", flat=True)) == {1}
    assert not Event.objects.filter(log_position=None).exclude(type="notifications.notification_sent").exists()


def test_the_child_of_a_worker_is_killed_while_it_waits_for_the_payment_provider(
    place: Place, processes: Processes
) -> None:
    # The provider charges and its answer takes ten seconds: the child dies waiting for it.
    worker = processes.worker(concurrency=1, PAYMENTS_TIMEOUT_SECONDS="10")
    processes.beat()
    order = place("tok_lostReply")
    wait_for(lambda: FakeCharge.objects.filter(status="charged").exists(), why=state)
    killed = kill_child(worker)
    assert StepRun.objects.get(name="capture-payment").status == "running"
    wait_for(lambda: has_another_child(worker, killed))
    wait_for(lambda: all_completed(1), why=state)
    order.refresh_from_db()
    assert order.status == "confirmed"
    assert FakeCharge.objects.get().calls == 1
    assert_all_done_once(1)
    assert worker.poll() is None


def test_the_child_of_a_worker_is_killed_in_the_middle_of_a_transaction(place: Place, processes: Processes) -> None:
    worker = processes.worker(concurrency=1)
    processes.beat()
    with transaction.atomic():
        StockItem.objects.select_for_update().get(sku="MUG")
        # Committed on a connection of its own, as the lock is held on this one.
        _place_elsewhere(place)
        wait_for(another_waits_for_us, why=state)
        killed = kill_child(worker)
        wait_for(lambda: has_another_child(worker, killed))
        assert stock("MUG") == (100, 0)
    wait_for(lambda: all_completed(1), why=state)
    assert_all_done_once(1)
    assert worker.poll() is None


def _place_elsewhere(place: Place) -> None:
    (order,) = at_once(place)
    assert isinstance(order, Order)


def test_a_worker_of_older_code_drops_a_message_and_the_sweep_sends_another(place: Place, processes: Processes) -> None:
    arguments = ("worker", "-n", "old@test", "-c", "1", "-l", "info", "--without-gossip", "--without-mingle")
    old = processes.start(*arguments, "-I", "tests.faults.old_code")
    processes.beat()
    place()
    wait_for(lambda: b"unregistered task of type 'inventory.book_shipment'" in processes.log(old), why=state)
    run = Run.objects.get()
    assert (run.status, run.failure, run.attention) == ("running", None, None)
    assert run.place == StepRun.objects.get(name="book-shipment").place
    processes.kill(old)
    processes.worker(name="new")
    wait_for(lambda: all_completed(1), why=state)
    assert_all_done_once(1)


def test_every_queue_of_a_worker_gives_signs_of_life_and_those_of_a_frozen_one_stop(processes: Processes) -> None:
    processes.beat()
    processes.worker("relay", name="relay")
    engine = processes.worker("sagas", name="engine")
    contexts = processes.worker("orders,inventory,payments,notifications", name="contexts")

    def signs() -> dict[str, datetime]:
        return heartbeats.last_signs()

    wait_for(lambda: set(signs()) == set(heartbeats.queues()) and not Heartbeat.objects.exclude(asked_at=None).exists())
    os.killpg(contexts.pid, signal.SIGSTOP)
    wait_for(lambda: Heartbeat.objects.filter(asked_at__isnull=False).count() == 4)
    frozen = signs()
    wait_for(lambda: signs()["sagas"] > frozen["sagas"] and signs()["relay"] > frozen["relay"])
    assert all(signs()[queue] == frozen[queue] for queue in ("orders", "inventory", "payments", "notifications"))
    os.killpg(contexts.pid, signal.SIGCONT)
    wait_for(lambda: all(signs()[queue] > frozen[queue] for queue in frozen))
    # The relay goes on asking where the worker of the engine's queue is dead.
    processes.kill(engine)
    last = signs()
    wait_for(lambda: all(signs()[queue] > last[queue] for queue in last if queue != "sagas"), seconds=60)
