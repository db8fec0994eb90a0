"""What nobody sits and waits for yields to what somebody does: an import does not hold up an order placed by hand."""

import time

import pytest
from django.db import connection, transaction
from kombu import Connection
from pytest_django import Settings
from redis import Redis

from orders.models import Order
from sagas.core import registry
from sagas.core.cause import Cause, caused_by
from sagas.core.ids import new_id
from sagas.core.subscription import Subscription
from sagas.db import clock as shop_clock
from sagas.engine.wake_ups import DeliveryWakeUp, StepTask, WakeUp, wake_ups_of
from sagas.log import outbox
from sagas.log.relay import relay_events
from sagas.messaging import tasks
from sagas.messaging.publish import send
from sagas.messaging.room import Room, messages_in
from sagas.models import Delivery, Event, Run
from sagas.testing import MovableClock, drive
from tests.concurrency import at_once
from tests.factories.orders import Place

from .conftest import Ask, Asked, Told, emit

IN_BULK = Cause(low_priority=True)


def keys(limit: int, clock: MovableClock) -> list[str]:
    """Relay once; return whose runs were started, in that order."""
    relay_events(now=clock(), limit=limit)
    return list(Run.objects.order_by("pk").values_list("key", flat=True))


def test_an_order_placed_by_hand_overtakes_an_import(ask: Ask, clock: MovableClock) -> None:
    with caused_by(IN_BULK):
        for number in range(5):
            ask(f"import {number}")
    ask("by hand")
    assert keys(2, clock) == ["by hand", "import 0"]


def test_it_shares_no_message_with_the_import(ask: Ask, clock: MovableClock) -> None:
    with caused_by(IN_BULK):
        ask("import")
    ask("by hand")
    wake_ups = relay_events(now=clock(), limit=10).wake_ups
    assert [(wake_up.low_priority, len(wake_up.run_ids)) for wake_up in wake_ups] == [(False, 1), (True, 1)]
    assert [wake_up.low_priority for wake_up in wake_ups_of(list(Run.objects.order_by("low_priority")))] == [
        False,
        True,
    ]


def test_what_a_run_of_the_bulk_emits_is_of_the_bulk(saga: object, clock: MovableClock) -> None:
    with caused_by(IN_BULK):
        event = emit(Told(name="k"), clock)
    assert Event.objects.get(pk=event.pk).low_priority
    assert [owed.low_priority for owed in relay_events(now=clock(), limit=10).deliveries] == [True]


def test_order_per_key_is_kept_across_both(saga: object, clock: MovableClock) -> None:
    """A later event waits for the low-priority event of the same key before it, even if it is interactive."""
    with caused_by(IN_BULK):
        emit(Told(name="other"), clock)
        emit(Told(name="k", number=1), clock)
    emit(Told(name="k", number=2), clock)
    for _ in range(3):
        relay_events(now=clock(), limit=1)
    assert list(Delivery.objects.order_by("pk").values_list("key", "event__data__number")) == [
        ("other", 0),
        ("k", 1),
        ("k", 2),
    ]


def test_order_per_key_is_kept_where_the_bulk_follows_on_what_somebody_waits_for(
    saga: object, clock: MovableClock
) -> None:
    for number, cause in enumerate((IN_BULK, Cause(), IN_BULK)):
        with caused_by(cause):
            emit(Told(name="k", number=number), clock)
    while relay_events(now=clock(), limit=10).events:
        pass
    assert list(Delivery.objects.order_by("pk").values_list("event__data__number", flat=True)) == [0, 1, 2]
    assert list(Event.objects.order_by("log_position").values_list("data__number", flat=True)) == [0, 1, 2]


def test_those_held_up_by_the_other_kind_hold_up_nobody_else(saga: object, clock: MovableClock) -> None:
    with caused_by(IN_BULK):
        for name in ("k1", "k2", "k3"):
            emit(Told(name=name, number=1), clock)
    for name in ("k1", "k2", "by hand"):
        emit(Told(name=name, number=2), clock)
    assert relay_events(now=clock(), limit=3, low_priority=False).events == 1
    assert list(Delivery.objects.values_list("key", flat=True)) == ["by hand"]
    while relay_events(now=clock(), limit=2).events:
        pass
    assert list(Event.objects.order_by("log_position").values_list("key", "data__number")) == [
        ("by hand", 2), ("k1", 1), ("k2", 1), ("k1", 2), ("k2", 2), ("k3", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("by_hand", [0, 1, 500])
def test_a_burst_is_taken_though_statistics_do_not_know_of_it_yet(
    saga: object, clock: MovableClock, by_hand: int
) -> None:
    class Unheard(Asked):
        type = "tests.unheard_of"

    def rows_read() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
                " WHERE relname = 'sagas_event'"
            )
            return int(cursor.fetchone()[0])

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE sagas_event")
        with caused_by(IN_BULK):
            outbox.emit(*(Unheard(name=f"k{number}") for number in range(2000)), now=clock())
        outbox.emit(*(Unheard(name=f"by hand {number}") for number in range(by_hand)), now=clock())
        before = rows_read()
        assert relay_events(now=clock(), limit=5000).events == 2000 + by_hand
        assert rows_read() - before < 10 * 2000


def test_everything_is_done_in_the_end(ask: Ask, clock: MovableClock) -> None:
    with caused_by(IN_BULK):
        for number in range(3):
            ask(f"import {number}")
    ask("by hand")
    drive(now=clock)
    assert set(Run.objects.values_list("status", flat=True)) == {"completed"}


# Messages --------------------------------------------------------------------------------------------------------


def chain_of(*, low_priority: bool, single: bool = False) -> WakeUp:
    step = StepTask(name="inventory.reserve_stock", queue="inventory", place=0)
    return WakeUp(run_ids=(new_id(),), epoch=1, tasks=(step,), low_priority=low_priority, single=single)


def test_messages_of_the_bulk_are_given_out_last_and_before_them_what_a_batch_has_left(redis: Redis) -> None:
    send([chain_of(low_priority=True), chain_of(low_priority=False)])
    send([chain_of(low_priority=True, single=True), chain_of(low_priority=False, single=True)])
    send(owed=[DeliveryWakeUp(delivery_ids=(1,), task="inventory.count", queue="inventory", single=True)])
    # Redis has a list for each priority, and a worker empties the first one first.
    assert {name: redis.llen(name) for name in redis.keys("inventory*")} == {
        b"inventory": 1,
        b"inventory\x06\x166": 2,
        b"inventory\x06\x169": 2,
    }


def test_under_load_the_relay_waits_for_room_in_the_queues(redis: Redis, transactional_db: None) -> None:
    shop_clock.now()
    send([chain_of(low_priority=True)] * 5)
    assert waited(Room()) < 30  # at rest the queues are not read
    assert 0.6 <= waited(busy(wait_seconds=0.6)) < 30  # no longer: a queue without a worker holds up no other
    redis.flushdb()
    assert waited(busy()) < 30


def test_orders_that_come_while_messages_stand_in_line_share_a_chain(
    redis: Redis, place: Place, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Also when they come one by one: otherwise workers that are busy get more chains the more they have to do."""

    def place_later() -> Order:
        time.sleep(0.3)
        return place()

    settings.SAGAS_RESEND_AFTER_SECONDS = 600.0
    monkeypatch.setattr(Room, "wait_seconds", 2.0)
    place()
    tasks.relay()
    place()
    _, placed = at_once(tasks.relay, place_later)
    assert isinstance(placed, Order)
    assert Run.objects.count() == 3
    assert sum(b"sagas.answer" not in message for message in redis.lrange("inventory", 0, -1)) == 2


def test_messages_in_line_are_seen_with_other_brokers_too() -> None:
    with Connection("memory://") as connection, connection.channel() as channel:
        assert messages_in(channel, {"inventory", "payments"}) == (False, False)
        with connection.SimpleQueue("payments") as queue:
            queue.put("work")
            assert messages_in(channel, {"inventory", "payments"}) == (True, False)
            queue.get(block=False).ack()
        assert messages_in(channel, {"inventory", "payments"}) == (False, False)


def busy(*, wait_seconds: float = 60.0) -> Room:
    """Be a process that has just had something to send."""
    room = Room()
    room.busy_until, room.wait_seconds = time.monotonic() + 600, wait_seconds
    return room


def waited(room: Room) -> float:
    began = time.monotonic()
    room.wait()
    return time.monotonic() - began


def test_what_waits_for_others_does_not_make_the_relay_wait(redis: Redis, saga: object) -> None:
    shop_clock.now()
    registry.register([Subscription("slow", event=Told, queue="slow", react=lambda _: None, outside=True)])
    send(owed=[DeliveryWakeUp(delivery_ids=(1,), task="slow.slow", queue="slow")])
    assert waited(busy()) < 30


def test_what_somebody_waits_for_does_not_wait_for_messages_of_the_bulk(
    redis: Redis, saga: object, clock: MovableClock
) -> None:
    shop_clock.now()
    send(owed=[DeliveryWakeUp(delivery_ids=(1,), task="sagas.inside", queue="sagas", low_priority=True)])
    with caused_by(IN_BULK):
        emit(Told(name="low_priority"), clock)
    assert waited(busy(wait_seconds=0.5)) >= 0.5
    emit(Told(name="hand"), clock)
    assert waited(busy()) < 30
    assert busy().wait() is False
    assert relay_events(now=clock(), limit=10, low_priority=False).events == 1
    assert list(Delivery.objects.values_list("key", flat=True)) == ["hand"]
    assert relay_events(now=clock(), limit=10).events == 1
