"""Machines whose clocks are minutes off, or are set while the shop is at work."""

from pathlib import Path
from typing import Any

import pytest

from payments.models import FakeCharge
from sagas.models import Attempt, Run, StepRun
from shop.celery import app
from tests.conftest import Processes, broker, wait_for
from tests.factories.orders import Place

from .conftest import (
    all_completed,
    assert_all_done_once,
    clock_off_by,
    clock_set_by,
    message_ids,
    state,
)


@pytest.mark.parametrize(("relays", "beats"), [(300, -300), (-300, 300), (86_400, 0)])
def test_orders_are_done_in_seconds_where_all_clocks_differ(
    place: Place, processes: Processes, relays: int, beats: int
) -> None:
    processes.beat(**clock_off_by(beats))
    processes.coming_worker("relay,inventory,notifications", name="one", **clock_off_by(relays))
    processes.coming_worker("inventory,payments,orders,sagas", name="two", **clock_off_by(-relays))
    for worker in processes.started[1:]:
        processes.ready(worker)
    for method in ("tok_visa", "tok_visa", "tok_flaky", "tok_lostReply"):
        place(method)
    wait_for(lambda: all_completed(4), seconds=12, why=state)
    wait_for(lambda: len(message_ids(processes)) == 4, seconds=5, why=state)
    assert_all_done_once(4)
    assert sorted(FakeCharge.objects.values_list("calls", flat=True)) == [1, 1, 1, 3]
    # A first try in a batch leaves none: it is made again alone.
    assert {"ProviderBusy"} <= set(Attempt.objects.values_list("error", flat=True)) <= {"NoAnswer", "ProviderBusy"}


def test_a_worker_that_is_ahead_does_not_steal_a_call_under_way(place: Place, processes: Processes) -> None:
    ahead = clock_off_by(300)
    processes.beat(**ahead)
    others = processes.coming_worker("orders,inventory,notifications,sagas,relay", name="others", **ahead)
    long: dict[str, Any] = {"PAYMENTS_TIMEOUT_SECONDS": "8", "SAGAS_LEASE_SECONDS": "30"}
    own = processes.worker("payments", name="own", concurrency=1, prefetch=1, **long)
    processes.ready(others)
    place("tok_lostReply")
    wait_for(lambda: FakeCharge.objects.filter(status="charged").exists(), why=state)
    processes.worker("payments", name="thief", **ahead)
    # In time: by its own clock the lease has long run out.
    assert StepRun.objects.get(name="capture-payment").status == "running"
    wait_for(lambda: all_completed(1), why=state)
    assert_all_done_once(1)
    # Taken from its holder, the call would have left no failed try.
    assert Attempt.objects.get().error == "NoAnswer"
    assert StepRun.objects.get(name="capture-payment").attempts == 2
    assert b"lease_lost" not in processes.log(own)


def test_messages_that_a_worker_ahead_gives_out_again_do_nothing_twice(place: Place, processes: Processes) -> None:
    """Kombu compares wall clocks: to a worker that is ahead all that another one holds looks forgotten."""
    processes.beat()
    # In a batch nobody would wait for the answer.
    others = processes.coming_worker("orders,inventory,notifications,sagas,relay", name="others", SAGAS_BATCH_SIZE="1")
    own = processes.worker("payments", name="own", concurrency=1, PAYMENTS_TIMEOUT_SECONDS="2")
    processes.ready(others)
    for _ in range(6):
        place("tok_lostReply")
    wait_for(lambda: FakeCharge.objects.filter(status="charged").exists(), why=state)
    processes.coming_worker(name="ahead", **clock_off_by(300))
    wait_for(lambda: all_completed(6), why=state)
    wait_for(lambda: len(message_ids(processes)) == 6, why=state)
    # Counted for a message that came a second time, though nobody died.
    assert StepRun.objects.filter(lost_tries__gt=0).exists()
    assert_all_done_once(6)
    assert set(FakeCharge.objects.values_list("calls", flat=True)) == {1}
    assert len(set(message_ids(processes))) == 6
    assert own.poll() is None


def test_what_piled_up_while_no_relay_was_there_is_done_in_one_turn(place: Place, processes: Processes) -> None:
    with app.producer_pool.acquire(block=True, timeout=5) as producer:
        for name in ["sagas.relay", "sagas.sweep"] * 200:
            app.send_task(name, queue="relay", producer=producer)
    place()
    relay = processes.worker("relay", name="relay", concurrency=1)
    wait_for(Run.objects.exists, why=state)
    wait_for(lambda: _waiting_for_the_relay() == 0)
    turns = processes.log(relay).count(b" received")
    assert turns < 20


def test_beat_goes_on_when_its_clock_is_set_back(place: Place, processes: Processes, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0s\n")
    processes.beat(**clock_set_by(clock))
    wait_for(lambda: _waiting_for_the_relay() >= 2)
    clock.write_text("-300s\n")
    before = _waiting_for_the_relay()
    wait_for(lambda: _waiting_for_the_relay() >= before + 6, seconds=8)


def _waiting_for_the_relay() -> int:
    with broker() as redis:
        return int(redis.llen("relay"))
