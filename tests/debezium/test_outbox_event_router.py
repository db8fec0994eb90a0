"""Our outbox fits Debezium's Outbox Event Router: the real engine receives every event once per commit, in order."""

from collections.abc import Callable

import pytest
from django.db import transaction
from django.utils import timezone

from inventory import services as inventory
from orders import services as orders
from orders.models import Order
from sagas.models import Event
from sagas.testing import drive
from tests.concurrency import at_once
from tests.conftest import wait_for
from tests.factories.orders import Place

from .conftest import Engine

pytestmark = [pytest.mark.debezium, pytest.mark.timeout(300)]

Start = Callable[[], Engine]


def commits() -> list[str]:
    """Return the ids of all events, in the order in which they were written."""
    return [str(event_id) for event_id in Event.objects.order_by("position").values_list("id", flat=True)]


def test_every_event_of_orders_arrives_once_and_in_order(debezium: Start, place: Place) -> None:
    engine = debezium()
    placed = [place(), place("tok_chargeDeclined"), place()]
    with transaction.atomic():
        place()
        transaction.set_rollback(True)
    drive(now=timezone.now)  # the relay numbers them, steps emit more: updates of the outbox are no messages
    placed.append(place())
    drive(now=timezone.now)
    messages = engine.received(Event.objects.count())
    assert [message["headers"]["id"] for message in messages] == commits()
    assert {message["key"] for message in messages} == {str(order.id) for order in placed}
    for message, event in zip(messages, Event.objects.order_by("position"), strict=True):
        assert message["topic"] == f"outbox.event.{event.aggregate}"
        assert message["key"] == event.key
        assert message["value"] == event.data
        told = {name: message["headers"][name] for name in ("type", "version", "sequence", "correlation_id")}
        assert told == {
            "type": event.type,
            "version": event.version,
            "sequence": event.sequence,
            "correlation_id": str(event.correlation_id),
        }


def test_they_arrive_in_the_order_of_commits_and_of_each_order_in_that_of_writing(
    debezium: Start, place: Place
) -> None:
    engine = debezium()
    with transaction.atomic():
        first = place()
        (second,) = at_once(place)
        assert isinstance(second, Order)
    assert [message["key"] for message in engine.received(2)] == [str(second.id), str(first.id)]
    assert list(Event.objects.order_by("position").values_list("key", flat=True)) == [str(first.id), str(second.id)]
    drive(now=timezone.now)
    messages = engine.received(Event.objects.count())
    for order in (first, second):
        of_it = [message["headers"]["id"] for message in messages if message["key"] == str(order.id)]
        written = Event.objects.filter(key=str(order.id)).order_by("position").values_list("id", flat=True)
        assert of_it == list(map(str, written))


def test_a_large_transaction_arrives_whole(debezium: Start, shelves: None) -> None:
    engine = debezium()
    inventory.receive({"MUG": 5000})
    request = orders.OrderRequest(
        customer_email="ada@example.com",
        customer_name="Ada Lovelace",
        payment_method="tok_visa",
        lines=[orders.LineRequest(sku="MUG", quantity=1)],
    )
    with transaction.atomic():
        for _ in range(6):
            orders.place_many([request] * 500, now=timezone.now())
    assert [message["headers"]["id"] for message in engine.received(3000)] == commits()


def test_an_engine_that_is_killed_goes_on_and_what_comes_twice_has_its_id(debezium: Start, place: Place) -> None:
    engine = debezium()
    place()
    before = engine.received(1)
    engine.kill()
    place()
    place()
    again = debezium()
    known = {message["headers"]["id"] for message in before}

    def new() -> list[str]:
        ids = (message["headers"]["id"] for message in again.messages())
        return [event_id for event_id in ids if event_id not in known]

    wait_for(lambda: len(new()) >= 2, seconds=60)
    again.received(2)
    assert new() == commits()[1:]
