"""Events are added to a Redis Stream: once each, in order per key, about so many of them are kept."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from redis import Redis

from sagas.engine.deliveries import deliver
from sagas.log import cloudevents
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event
from sagas.testing import MovableClock, drive
from shop import wiring
from shop.outward import receivers, streams
from tests.conftest import broker

from .conftest import Inside, Tell, follow

LAKE = "stream-lake"


def stream(**more: Any) -> receivers.Stream:
    text = json.dumps([{"name": "lake", "key": "tests:lake", **more}])
    (found,) = receivers.streams(text, broker_url=settings.CELERY_BROKER_URL, taken=set())
    return found


@pytest.fixture
def lake(neighbour: Inside, clock: MovableClock) -> Iterator[Redis]:
    """The Redis of a stream that is wired as `stream-lake`."""
    follow(wiring.to_stream(stream()), clock)
    with broker() as redis:
        redis.flushdb()
        yield redis
        redis.flushdb()


def entries(redis: Redis) -> list[dict[str, Any]]:
    found: Any = redis.xrange("tests:lake")
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]


def numbers(redis: Redis, key: str) -> list[int]:
    return [json.loads(entry["event"])["data"]["number"] for entry in entries(redis) if entry["key"] == key]


def test_an_entry_holds_the_envelope_and_what_readers_choose_by(lake: Redis, tell: Tell, clock: MovableClock) -> None:
    tell("Zoë", 1)
    drive(now=clock)
    (entry,) = entries(lake)
    stored = Event.objects.get()
    assert json.loads(entry.pop("event")) == cloudevents.envelope(stored)
    assert entry == {"id": str(stored.id), "type": "tests.outward_told", "key": "Zoë"}


def test_many_are_added_in_order_of_their_key(lake: Redis, tell: Tell, clock: MovableClock) -> None:
    for number in range(40):
        tell(f"k{number % 4}", number)
    drive(now=clock)
    assert {key: numbers(lake, key) for key in ("k0", "k1", "k2", "k3")} == {
        f"k{place}": list(range(place, 40, 4)) for place in range(4)
    }


def test_keys_overtake_each_other_and_nothing_is_refused(lake: Redis, tell: Tell, clock: MovableClock) -> None:
    tell("a", 1)
    tell("b", 2)
    owed = {
        delivery.key: delivery.pk
        for wake_up in relay_events(now=clock(), limit=10).deliveries
        for delivery in Delivery.objects.filter(pk__in=wake_up.delivery_ids, subscription=LAKE)
    }
    for key in ("b", "a"):
        deliver(delivery_ids=[owed[key]], clock=clock)
    assert [entry["key"] for entry in entries(lake)] == ["b", "a"]


def test_what_was_added_before_a_crash_is_not_added_again(lake: Redis, tell: Tell, clock: MovableClock) -> None:
    tell("k", 1)
    tell("k", 2)
    drive(now=clock)
    Delivery.objects.filter(subscription=LAKE).update(status="running", due_at=clock(), finished_at=None)
    drive(now=clock)
    assert not Delivery.objects.exclude(status="done").exists()
    assert numbers(lake, "k") == [1, 2]


def test_the_stream_and_what_it_remembers_are_trimmed(
    neighbour: Inside, lake: Redis, tell: Tell, clock: MovableClock
) -> None:
    follow(wiring.to_stream(stream(name="pond", key="tests:pond", maxlen=100)), clock)
    for number in range(500):
        tell(f"k{number}", number)
    for _ in range(3):
        drive(now=clock)
    assert 100 <= int(lake.xlen("tests:pond")) < 300
    assert lake.zcard(streams.seen_key("tests:pond")) == 100
    assert lake.xlen("tests:lake") == 500


def test_a_redis_that_is_away_holds_up_nobody_and_gets_all_later(
    neighbour: Inside, lake: Redis, tell: Tell, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, away = streams._client, Redis(port=1, socket_connect_timeout=0.1)
    monkeypatch.setattr(streams, "_client", lambda _: away)
    for number in range(6):
        tell(f"k{number % 2}", number)
    drive(now=clock)
    assert len(neighbour.told) == 6
    errors = set(Delivery.objects.filter(subscription=LAKE).exclude(error="").values_list("error", flat=True))
    assert errors == {"ReceiverAway: the Redis of lake gave no answer: ConnectionError"}
    monkeypatch.setattr(streams, "_client", real)
    for _ in range(10):
        clock.move(minutes=1)
        drive(now=clock)
    assert (numbers(lake, "k0"), numbers(lake, "k1")) == ([0, 2, 4], [1, 3, 5])


def test_a_key_that_holds_something_else_is_told_and_tried_again(
    lake: Redis, tell: Tell, clock: MovableClock, longest_pauses: None
) -> None:
    lake.set("tests:lake", "a text")
    tell("k", 1)
    drive(now=clock)
    delivery = Delivery.objects.get(subscription=LAKE)
    assert delivery.status == "pending"
    assert delivery.error.startswith("ReceiverRefused: Redis did not take it for 'tests:lake':")
    assert "WRONGTYPE" in delivery.error
    lake.delete("tests:lake")
    clock.move(seconds=5)
    drive(now=clock)
    assert numbers(lake, "k") == [1]
