"""Of a subscription with `at_once`, few messages are worked on at once; what waited goes on without the sweep."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from sagas.core import registry
from sagas.core.errors import Retryable
from sagas.core.saga import Saga
from sagas.core.subscription import Received, starts
from sagas.engine import shares
from sagas.engine.deliveries import deliver, sweep_deliveries
from sagas.engine.delivery_rows import ready
from sagas.engine.wake_ups import DeliveryWakeUp
from sagas.log.relay import relay_events
from sagas.models import Delivery
from sagas.testing import MovableClock, drive
from tests.concurrency import another_waits_for_us, at_once
from tests.conftest import wait_for

from .conftest import Asked, Script, Tell


@pytest.fixture
def far(saga: Saga[Asked], script: Script) -> Iterator[Callable[..., None]]:
    """Wire the reaction outside, with room for so many."""

    def far(room: int | None, react: Callable[[Received[Any]], None] | None = script.react, **more: Any) -> None:
        inside = registry.subscription("inside")
        assert inside is not None
        outside = replace(inside, outside=True, at_once=room, react=react, **more)
        registry.activate(registry.current().rewired([starts(saga), outside]))

    with registry.current().active():  # it is the current one again after the test
        yield far


def messages(clock: MovableClock) -> list[int]:
    """Relay what was told; return the delivery of each event, as if each had come by itself."""
    relay_events(now=clock(), limit=10)
    return list(Delivery.objects.order_by("event").values_list("pk", flat=True))


def states() -> list[tuple[str, int, int]]:
    return list(Delivery.objects.order_by("event").values_list("status", "attempts", "lost_tries"))


def refuse(*pks: int, at: datetime) -> None:
    """Have the messages of these deliveries come while the share is used up."""
    with transaction.atomic():
        shares.refuse(list(Delivery.objects.filter(pk__in=pks)), at)


def woken(wake_ups: Sequence[DeliveryWakeUp]) -> list[tuple[int, ...]]:
    return [wake_up.delivery_ids for wake_up in wake_ups]


@pytest.mark.parametrize(("room", "made"), [(1, ["a"]), (2, ["a", "b"]), (None, ["a", "b"])])
def test_no_more_messages_of_a_subscription_are_worked_on_than_it_has_room_for(
    far: Callable[..., None], tell: Tell, clock: MovableClock, room: int | None, made: list[str]
) -> None:
    reacted: list[str] = []
    second: list[DeliveryWakeUp] | None = None

    def react(received: Received[Any]) -> None:
        reacted.append(received.event.name)
        if received.event.name == "a":  # meanwhile, at another worker
            nonlocal second
            second = deliver(delivery_ids=[of_b], clock=clock)

    far(room, react)
    tell("a", 1)
    tell("b", 1)
    of_a, of_b = messages(clock)
    first = deliver(delivery_ids=[of_a], clock=clock)
    assert reacted == made
    assert second == []
    # What found no room is woken by the worker that ends.
    assert woken(first) == ([(of_b,)] if room == 1 else [])
    assert states() == [("done", 1, 0), ("pending", 0, 0) if room == 1 else ("done", 1, 0)]


def test_workers_that_come_at_the_same_moment_take_turns(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    under_way: list[int] = []
    most: list[int] = []

    def react(received: Received[Any]) -> None:
        under_way.append(received.event.number)
        most.append(len(under_way))
        Delivery.objects.filter(status="running").count()
        under_way.remove(received.event.number)

    far(1, react)
    for number in range(6):
        tell(f"k{number}", number)
    pks = messages(clock)
    answers = at_once(*(lambda pk=pk: deliver(delivery_ids=[pk], clock=clock) for pk in pks))
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert set(most) == {1}
    clock.move(minutes=2)
    drive(now=clock)
    assert {status for status, *_ in states()} == {"done"}


def test_after_a_success_the_next_ones_are_woken_together_and_after_a_failure_one(
    far: Callable[..., None], tell: Tell, clock: MovableClock, script: Script
) -> None:
    far(1)
    for key in "abcd":
        tell(key, 1)
    of_a, of_b, of_c, of_d = messages(clock)
    refuse(of_b, of_c, of_d, at=clock())
    script.says["told a"] = [Retryable("not now")]
    assert woken(deliver(delivery_ids=[of_a], clock=clock)) == [(of_b,)]
    assert woken(deliver(delivery_ids=[of_b], clock=clock)) == [(of_c, of_d)]
    assert states()[0] == ("pending", 1, 0)


def test_what_a_batch_has_left_is_not_tried_in_another_batch(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    """It was tried there once, which is not counted; the next try is alone."""
    tried: list[list[str]] = []

    def many(received: Sequence[Received[Any]]) -> dict[UUID, object]:
        tried.append([each.event.name for each in received])
        return {each.event_id: None for each in received if each.event.name != "bad"}

    far(1, react=None, react_many=many)
    for key in ("bad", "a", "b", "c"):
        tell(key, 1)
    bad, of_a, of_b, of_c = messages(clock)
    refuse(of_b, of_c, at=clock())
    wake_ups = deliver(delivery_ids=[bad, of_a], clock=clock)
    assert [(wake_up.delivery_ids, wake_up.single) for wake_up in wake_ups] == [((bad,), True), ((of_b, of_c), False)]
    # The message of the bad one is late; it was not refused.
    assert woken(deliver(delivery_ids=[of_b, of_c], clock=clock)) == []
    assert tried == [["bad", "a"], ["b", "c"]]


def test_a_delivery_that_found_no_room_again_and_again_is_no_lost_try(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    far(1)
    tell("a", 1)
    tell("b", 1)
    of_a, _ = messages(clock)
    for _ in range(10):
        Delivery.objects.filter(pk=of_a).update(status="running", due_at=clock() + timedelta(hours=2))
        clock.move(minutes=11)
        (wake_up,) = sweep_deliveries(now=clock(), limit=10)
        assert deliver(delivery_ids=wake_up.delivery_ids, clock=clock) == []
    assert states()[1] == ("pending", 0, 0)


def test_a_delivery_whose_room_is_taken_in_the_moment_of_its_claim_is_no_lost_try(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    """Many messages of one delivery may be under way: each of them would count."""
    far(1)
    tell("a", 1)
    tell("b", 1)
    of_a, of_b = messages(clock)
    Delivery.objects.filter(pk=of_b).update(resends=1)
    calls = 0

    def busy_clock() -> datetime:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first was for the claim
            Delivery.objects.filter(pk=of_a).update(status="running", due_at=clock() + timedelta(hours=2))
        return clock()

    deliver(delivery_ids=[of_b], clock=busy_clock)
    assert states()[1] == ("done", 1, 0)


def test_room_that_a_dead_worker_held_is_free_when_its_lease_runs_out(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    far(1)
    tell("a", 1)
    tell("b", 1)
    of_a, of_b = messages(clock)
    Delivery.objects.filter(pk=of_a).update(status="running", attempts=1, due_at=clock() + timedelta(seconds=30))
    assert deliver(delivery_ids=[of_b], clock=clock) == []
    clock.move(minutes=2)
    drive(now=clock)
    assert states() == [("done", 2, 0), ("done", 1, 0)]


def test_what_is_ready_is_found_with_as_many_pages_for_each_also_in_a_burst(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    """The planner does not know of a burst: its statistics are those of a table in which all is done."""

    def pages() -> float:
        count = Delivery.objects.filter(status="pending").count()
        explained = ready(Delivery.objects.all(), clock()).explain(format="JSON", analyze=True, buffers=True)
        return float(json.loads(explained)[0]["Plan"]["Shared Hit Blocks"]) / count

    far(None)
    for number in range(50):
        tell(f"early-{number}", number)
    drive(now=clock)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sagas_delivery")
    read = []
    for burst in range(2):
        for number in range(200):
            tell(f"k{burst}-{number}", number)
        relay_events(now=clock(), limit=1000)
        read.append(pages())
    assert read[1] < 1.5 * read[0]


def test_a_refusal_that_is_not_committed_yet_is_waited_for(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    """It still counted the worker that asks: that one would be the last to send it again, before the sweep."""
    far(1)
    tell("a", 1)
    (of_a,) = messages(clock)
    subscription = registry.subscription("inside")
    assert subscription is not None
    refused = threading.Event()

    def refuse_slowly() -> None:
        with transaction.atomic():
            shares.is_full(subscription, clock())
            refuse(of_a, at=clock())
            refused.set()
            wait_for(another_waits_for_us)

    def end() -> list[int]:
        assert refused.wait(10)
        found = shares.next_of([subscription], succeeded={"inside"}, left_out=(), now=clock())
        return [delivery.pk for delivery in found]

    assert at_once(refuse_slowly, end) == [None, [of_a]]


def test_a_frozen_claim_does_not_hold_up_refused_deliveries(
    far: Callable[..., None], tell: Tell, clock: MovableClock
) -> None:
    """What is visible is sent again; the sweep finds the rest."""
    far(1)
    tell("a", 1)
    (of_a,) = messages(clock)
    refuse(of_a, at=clock())
    subscription = registry.subscription("inside")
    assert subscription is not None
    frozen, over = threading.Event(), threading.Event()

    def freeze() -> None:
        with transaction.atomic():
            shares.is_full(subscription, clock())
            frozen.set()
            assert over.wait(10)

    def end() -> list[int]:
        assert frozen.wait(10)
        found = shares.next_of([subscription], succeeded={"inside"}, left_out=(), now=clock())
        over.set()
        return [delivery.pk for delivery in found]

    assert at_once(freeze, end) == [None, [of_a]]
