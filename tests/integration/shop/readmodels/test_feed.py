"""The feed in Redis, which may lose all it holds, and what the API and the admin read of read models."""

import pytest
from django.core.management import CommandError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

from orders.models import Order
from sagas.log import rebuild
from sagas.log.relay import relay_events
from sagas.models import Follower
from sagas.operations import queries
from sagas.testing import drive
from shop.readmodels import feed
from tests.factories.orders import Place

from .conftest import listed, model, rebuilt, take_in, truly_listed

pytestmark = pytest.mark.usefixtures("longest_pauses")


def entries(limit: int = 20) -> list[tuple[str, str]]:
    return [(entry.number, entry.what) for entry in feed.of_customer("Ada@example.com", limit=limit)]


def test_ones_own_order_is_in_the_feed_at_once_and_what_became_of_it_soon(place: Place) -> None:
    order = place()
    assert entries() == [(order.number, "placed")]
    drive()
    take_in()
    assert set(entries()) == {(order.number, what) for what in ("placed", "shipped", "confirmed")}
    second = place()
    assert entries()[0] == (second.number, "placed")
    assert len(entries()) == 4


def test_the_feed_comes_back_by_itself_when_redis_was_emptied(place: Place, redis: "Redis") -> None:
    order = place()
    drive()
    take_in()
    before = entries()
    redis.flushall()
    assert entries() == [(order.number, "placed")]
    take_in()
    assert entries() == before


def test_without_redis_one_sees_what_one_ordered(place: Place, settings: Settings) -> None:
    order = place()
    drive()
    settings.FEED_REDIS_URL = "redis://127.0.0.1:1/0"
    assert entries() == [(order.number, "placed")]
    take_in()
    away = {lag.name: lag for lag in queries.followers(now=timezone.now())}["customer-feed"]
    assert away.status == "stopped"
    assert "its store is away" in away.error
    assert listed() == truly_listed(), "others go on"


def test_events_that_come_twice_are_one_entry(place: Place) -> None:
    place()
    drive()
    take_in()
    before = entries()
    Follower.objects.filter(name="customer-feed").update(position=0)
    take_in()
    assert entries() == before


def test_a_feed_keeps_its_newest_entries(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LENGTH", 3)
    placed = [place() for _ in range(3)]
    relay_events(now=timezone.now(), limit=500)
    drive()
    take_in()
    kept, _ = feed._kept("ada@example.com", 20)
    assert len(kept) == 3
    assert {entry.number for entry in kept} <= {order.number for order in placed}


def test_the_feed_is_rebuilt_beside_the_one_that_serves(history: list[Order], redis: "Redis") -> None:
    take_in()
    before = entries(100)
    key = next(iter(redis.scan_iter("feed:1:*")))
    redis.zremrangebyrank(key, 0, 0)
    said = rebuilt("customer-feed")
    assert "customer-feed: 0 only in the old copy, 1 only in the new one" in said
    assert entries(100) == before
    assert redis.get("feed") == b"2"
    assert not list(redis.scan_iter("feed:1*"))
    assert "the same" in rebuilt("customer-feed")


def keys_of(redis: "Redis") -> set[str]:
    """Return the generations there are keys of."""
    return {key.decode().split(":")[1] for key in redis.scan_iter("feed:*")}


def test_a_store_that_is_back_is_no_longer_said_to_be_away(place: Place, settings: Settings, redis: "Redis") -> None:
    place()
    drive()
    take_in()
    url, settings.FEED_REDIS_URL = settings.FEED_REDIS_URL, "redis://127.0.0.1:1/0"
    take_in()
    assert Follower.objects.get(name="customer-feed").error.startswith("its store is away")
    settings.FEED_REDIS_URL = url
    take_in()
    assert Follower.objects.get(name="customer-feed").error == ""


def test_a_feed_that_was_only_compared_leaves_nothing_behind(history: list[Order], redis: "Redis") -> None:
    take_in()
    assert "the old one stays" in rebuilt("customer-feed", "--compare")
    assert keys_of(redis) == {"1"}


@pytest.mark.parametrize(("killed_before", "left"), [("swap", "2"), ("drop", "1")])
def test_what_a_rebuild_left_in_redis_when_it_was_killed_goes_with_the_next(
    history: list[Order], redis: "Redis", monkeypatch: pytest.MonkeyPatch, killed_before: str, left: str
) -> None:
    take_in()
    before, create_shadow = entries(100), feed.FeedStore.create_shadow

    def die(_: feed.FeedStore) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:

        def create_and_be_killed_later(store: feed.FeedStore) -> None:
            create_shadow(store)
            killed.setattr(feed.FeedStore, killed_before, die)

        killed.setattr(feed.FeedStore, "create_shadow", create_and_be_killed_later)
        with pytest.raises(KeyboardInterrupt):
            rebuilt("customer-feed")
    assert entries(100) == before
    assert left in keys_of(redis)
    redis.zadd(f"feed:{left}:ada@example.com", {'{"order_id": "x"}': 1})
    assert "the same" in rebuilt("customer-feed")
    assert entries(100) == before
    assert len(keys_of(redis)) == 1


def test_a_new_copy_that_was_lost_with_redis_is_said_to_be(history: list[Order], redis: "Redis") -> None:
    take_in()
    model_ = model("customer-feed")
    rebuild.start(model_, now=timezone.now())
    rebuild.go_on(model_, limit=5)
    redis.flushdb()
    take_in()
    with pytest.raises(CommandError, match="the new copy was lost with its Redis; rebuild it with --anew"):
        rebuilt("customer-feed")
    assert "the same" in rebuilt("customer-feed", "--anew")


def test_a_rebuild_without_its_store_says_so(history: list[Order], settings: Settings) -> None:
    take_in()
    settings.FEED_REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(CommandError, match="The store of customer-feed is away"):
        rebuilt("customer-feed")
    assert not Follower.objects.filter(name__contains="rebuild").exists()


# The API -------------------------------------------------------------------------------------------------------------


def test_the_api_gives_a_customers_orders_and_feed(history: list[Order], client: Client, settings: Settings) -> None:
    take_in()
    headers = {"Authorization": f"Bearer {settings.API_TOKEN}"}
    rows = client.get("/api/customers/ada@example.com/orders?limit=100", headers=headers).json()
    assert {row["number"] for row in rows} == {order.number for order in history}
    entries = client.get("/api/customers/ada@example.com/feed?limit=3", headers=headers).json()
    assert len(entries) == 3
    assert set(entries[0]) == {"order_id", "number", "what", "note", "at"}
    assert client.get("/api/customers/nobody@example.com/orders", headers=headers).json() == []
    assert client.get("/api/customers/ada@example.com/feed?limit=0", headers=headers).status_code == 422
    assert client.get("/api/customers/ada@example.com/feed").status_code == 401


def test_the_admin_shows_sales_and_orders(history: list[Order], admin_client: Client) -> None:
    take_in()
    for page, shown in (("salesofday", "LAMP"), ("customerorder", history[0].number)):
        response = admin_client.get(f"/admin/shop/{page}/")
        assert response.status_code == 200
        assert shown in response.content.decode()
