"""Workers that freeze, die with a lock in hand, or get a message twice or late: whoever lost the lease changes nothing.

A frozen process (SIGSTOP) keeps its connections, its locks and its messages, and goes on where it stood when woken.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest
from django.db import connection, transaction

from inventory.models import StockItem
from orders.models import Order
from payments.models import FakeCharge
from sagas.db import clock
from sagas.log.relay import relay_events
from sagas.messaging.publish import send
from sagas.models import Attempt, Delivery, Event, Run, StepRun
from tests.asking import stock
from tests.concurrency import another_waits_for_us, at_once
from tests.conftest import Process, Processes, broker, wait_for
from tests.factories.orders import Place

from .conftest import (
    all_completed,
    assert_all_done_once,
    message_ids,
    state,
)

STEPS = "orders,inventory,payments,notifications,sagas"
#: A worker whose transaction is ended two seconds after it froze.
IDLE: dict[str, Any] = {"DATABASE_IDLE_IN_TRANSACTION_SECONDS": "2"}
#: A relay that sends again what made no progress for a second.
SOON: dict[str, Any] = {"SAGAS_RESEND_AFTER_SECONDS": "1"}


def child_of(worker: Process) -> psutil.Process:
    (child,) = psutil.Process(worker.pid).children()
    return child


def the_child(worker: Process) -> list[psutil.Process]:
    return [child_of(worker)]


def all_of_it(worker: Process) -> list[psutil.Process]:
    return [psutil.Process(worker.pid), child_of(worker)]


@contextmanager
def frozen(who: list[psutil.Process]) -> Iterator[None]:
    try:
        for process in who:
            process.suspend()
        yield
    finally:
        for process in who:
            process.resume()


def all_rows(processes: Processes) -> dict[str, Any]:
    """Return all that an order leaves behind: journal, charges, stock, mails."""
    tables = (Run, StepRun, Attempt, Delivery, Event, FakeCharge, Order, StockItem)
    rows: dict[str, Any] = {table.__name__: list(table._default_manager.order_by("pk").values()) for table in tables}
    return rows | {"mails": sorted(message_ids(processes))}


def all_is_told(processes: Processes, mails: int = 1) -> bool:
    """Say whether every event was relayed and the last mail sent, so that nothing is left to change."""
    undone = Delivery.objects.exclude(status="done").exists() or Event.objects.filter(log_position=None).exists()
    return len(message_ids(processes)) == mails and not undone


def lost_its_session(processes: Processes, worker: Process) -> bool:
    log = processes.log(worker)
    return b"raised unexpected: OperationalError" in log or b"database_away" in log


def place_elsewhere(place: Place, *more: str) -> None:
    """Place an order on a connection of its own, for this one is in a transaction."""
    (order,) = at_once(lambda: place(*more))
    assert isinstance(order, Order), order


@pytest.mark.parametrize("who", [the_child, all_of_it])
def test_a_worker_frozen_while_the_provider_answers_changes_nothing_when_it_wakes(
    place: Place, processes: Processes, who: Callable[[Process], list[psutil.Process]]
) -> None:
    # Long enough to be frozen in, and shorter than the lease.
    answer: dict[str, Any] = {"PAYMENTS_TIMEOUT_SECONDS": "1", "SAGAS_LEASE_SECONDS": "2"}
    others = processes.coming_worker("orders,inventory,notifications,sagas,relay", name="others", **SOON)
    first = processes.worker("payments", name="first", concurrency=1, prefetch=1, **answer)
    processes.beat()
    place("tok_lostReply")
    wait_for(lambda: FakeCharge.objects.filter(status="charged").exists(), why=state)
    with frozen(who(first)):
        processes.coming_worker("payments", name="next")
        wait_for(lambda: all_completed(1) and all_is_told(processes), why=state)
        assert_all_done_once(1)
        before = all_rows(processes)
    wait_for(lambda: b"lease_lost" in processes.log(first), why=lambda: processes.log(first).decode())
    wait_for(_nothing_is_under_way, why=state)
    assert all_rows(processes) == before
    assert FakeCharge.objects.get().calls == 1
    assert [first.poll(), others.poll()] == [None, None]


def _nothing_is_under_way() -> bool:
    with broker() as redis:
        lists = ("orders", "inventory", "payments", "notifications", "sagas")
        return not any(redis.llen(name) for name in lists) and _unacked(redis) == 0


def _unacked(redis: Any) -> int:
    """Return how many messages workers hold, but for those that come every second."""
    held = redis.hvals("unacked")
    return sum(b'"routing_key": "relay"' not in message for message in held)


@pytest.mark.parametrize("who", [the_child, all_of_it])
def test_a_worker_frozen_in_a_transaction_loses_its_locks_and_another_goes_on(
    place: Place, processes: Processes, who: Callable[[Process], list[psutil.Process]]
) -> None:
    others = processes.coming_worker("orders,payments,notifications,sagas,relay", name="others", **SOON)
    first = processes.worker("inventory", name="first", concurrency=1, prefetch=1, **IDLE)
    processes.beat()
    freezer = ExitStack()
    with transaction.atomic():
        StockItem.objects.select_for_update().get(sku="MUG")
        place_elsewhere(place)
        wait_for(another_waits_for_us, why=state)
        freezer.enter_context(frozen(who(first)))
    # Its backend got the lock it waited for; now it holds the run, the step and the stock, and nobody asks it on.
    with freezer:
        processes.coming_worker("inventory", name="next", concurrency=1)
        wait_for(lambda: all_completed(1) and all_is_told(processes), why=state)
        assert_all_done_once(1)
        before = all_rows(processes)
    wait_for(lambda: lost_its_session(processes, first), why=lambda: processes.log(first).decode())
    wait_for(_nothing_is_under_way, why=state)
    assert all_rows(processes) == before
    place()
    wait_for(lambda: all_completed(2), why=state)
    assert_all_done_once(2)
    assert [first.poll(), others.poll()] == [None, None]


def test_a_relay_frozen_with_its_lock_makes_way_for_another(place: Place, processes: Processes) -> None:
    steps = processes.coming_worker(STEPS, name="steps")
    first = processes.worker("relay", name="first", concurrency=1, prefetch=1, **IDLE)
    freezer = ExitStack()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE sagas_run IN EXCLUSIVE MODE")
        place_elsewhere(place)
        processes.beat()
        wait_for(another_waits_for_us, why=state)
        freezer.enter_context(frozen(all_of_it(first)))
    with freezer:
        assert not Run.objects.exists()
        processes.coming_worker("relay", name="next", concurrency=1)
        wait_for(lambda: all_completed(1) and all_is_told(processes), why=state)
        before = all_rows(processes)
    wait_for(lambda: lost_its_session(processes, first), why=lambda: processes.log(first).decode())
    assert all_rows(processes) == before
    assert_all_done_once(1)
    assert [first.poll(), steps.poll()] == [None, None]


def test_the_locks_of_a_worker_killed_while_it_waits_for_another_are_freed_in_seconds(
    place: Place, processes: Processes
) -> None:
    worker = processes.worker(concurrency=1)
    processes.beat()
    with transaction.atomic():
        StockItem.objects.select_for_update().get(sku="MUG")
        place_elsewhere(place)
        wait_for(another_waits_for_us, why=state)
        assert at_once(_lockable_runs) == [0]
        processes.kill(worker)
        # The kernel closed its socket; its backend, asleep in our queue, has to look to notice.
        wait_for(lambda: at_once(_lockable_runs) == [1], seconds=6, why=state)
        assert not another_waits_for_us()
    processes.worker(name="next")
    wait_for(lambda: all_completed(1), why=state)
    assert_all_done_once(1)


def _lockable_runs() -> int:
    with transaction.atomic():
        return len(Run.objects.claimed())


def test_every_message_comes_to_two_workers_at_the_same_moment(place: Place, processes: Processes) -> None:
    for name in ("left", "right"):
        processes.coming_worker(STEPS, name=name, concurrency=4)
    for process in processes.started:
        processes.ready(process)
    orders = 15
    for _ in range(orders):
        place()

    def told() -> bool:
        relayed = relay_events(now=clock.now(), limit=500)
        for wake_up in relayed.wake_ups:
            send([wake_up] * 4)
        for delivery in relayed.deliveries:
            send(owed=[delivery] * 4)
        return all_completed(orders) and all_is_told(processes, orders)

    wait_for(told, why=state)
    assert_all_done_once(orders)
    assert len(message_ids(processes)) == len(set(message_ids(processes))) == orders
    assert set(FakeCharge.objects.values_list("calls", flat=True)) == {1}
    assert set(StepRun.objects.exclude(status="skipped").values_list("attempts", flat=True)) == {1}
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}
    assert not Attempt.objects.exists()


def test_a_late_message_of_an_old_epoch_does_nothing(place: Place, processes: Processes) -> None:
    place("tok_chargeDeclined")
    send(relay_events(now=clock.now(), limit=500).wake_ups)
    late = {"inventory": _messages("inventory")}
    inventory = processes.worker("inventory", name="inventory", concurrency=1)
    wait_for(lambda: _messages("payments"), why=state)
    late["payments"] = _messages("payments")
    processes.kill(inventory)
    processes.worker("payments,sagas", name="payments", concurrency=1)
    wait_for(lambda: Run.objects.filter(status="undoing", epoch=2).exists() and _messages("inventory"), why=state)
    before = all_rows(processes)
    # To the head of the queue: taken before the undo that waits there.
    _push(late["payments"] * 3, to="payments")
    _push(late["inventory"] * 3, to="inventory")
    wait_for(lambda: not _messages("payments"), why=state)
    assert all_rows(processes) == before
    processes.worker("inventory,orders,notifications", name="rest")
    wait_for(lambda: Run.objects.get().status == "undone", why=state)
    wait_for(_nothing_is_under_way, why=state)
    before = all_rows(processes)
    for queue, messages in late.items():
        _push(messages * 3, to=queue)
    wait_for(_nothing_is_under_way, why=state)
    assert all_rows(processes) == before
    assert stock("MUG") == (100, 0)
    assert FakeCharge.objects.get().calls == 1
    assert sorted(set(StepRun.objects.exclude(status="skipped").values_list("attempts", flat=True))) == [1]
    assert Attempt.objects.count() == 1


def _messages(queue: str) -> list[bytes]:
    with broker() as redis:
        return list(redis.lrange(queue, 0, -1))


def _push(messages: list[bytes], *, to: str) -> None:
    assert messages
    with broker() as redis:
        redis.rpush(to, *messages)
