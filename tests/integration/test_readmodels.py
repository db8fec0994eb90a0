"""Read models follow the log exactly once, stop in front of what they cannot read, and are rebuilt while they serve."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

from orders.models import Order, OrderLine
from sagas.core import registry
from sagas.core.read_model import ReadModel
from sagas.log import followers, rebuild
from sagas.log.read_models import follow
from sagas.log.relay import relay_events
from sagas.models import Event, Follower
from sagas.operations import queries
from sagas.testing import MovableClock, drive
from shop.models import CustomerOrder, SalesOfDay
from shop.readmodels import feed
from tests.concurrency import at_once
from tests.conftest import broker

Place = Callable[..., Order]

pytestmark = pytest.mark.usefixtures("longest_pauses")


@pytest.fixture(autouse=True)
def redis(transactional_db: None) -> "Iterator[Redis]":
    with broker() as redis:
        redis.flushdb()
        followers.create_missing(now=timezone.now())
        yield redis
        redis.flushdb()


def take_in(limit: int = 500) -> None:
    while follow(now=timezone.now(), limit=limit):
        pass


def model(name: str) -> ReadModel:
    found = registry.read_model(name)
    assert found is not None
    return found


@pytest.fixture
def history(place: Place) -> list[Order]:
    """Orders of each kind, each at its end."""
    clock = MovableClock()
    methods = ["tok_visa", "tok_chargeDeclined", "tok_visa", "tok_flaky", "invoice", "tok_visa"]
    placed = [place(method, now=clock()) for method in methods]
    placed.append(place(lines=(("LAMP", 101),), now=clock()))
    placed.append(place(lines=(("LAMP", 2), ("MUG", 1)), now=clock()))
    for _ in range(5):
        drive(now=clock)
        clock.move(minutes=1)
    return placed


def sold() -> dict[tuple[Any, ...], tuple[int, int, int]]:
    return {
        (row.day, row.sku, row.currency): (row.orders, row.quantity, row.total_minor)
        for row in SalesOfDay.objects.all()
    }


def truly_sold() -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """Return what the tables of the orders say was sold."""
    figures: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for line in OrderLine.objects.filter(order__status="confirmed").select_related("order"):
        assert line.order.decided_at is not None
        figures[timezone.localdate(line.order.decided_at), line.sku, line.order.currency].update(
            orders=1, quantity=line.quantity, total=line.quantity * line.unit_price_minor
        )
    return {key: (one["orders"], one["quantity"], one["total"]) for key, one in figures.items()}


def listed() -> set[tuple[Any, ...]]:
    return set(CustomerOrder.objects.values_list("order_id", "number", "status", "reason", "total_minor", "placed_at"))


def truly_listed() -> set[tuple[Any, ...]]:
    return set(Order.objects.values_list("id", "number", "status", "reason", "total_minor", "placed_at"))


# Following -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_read_models_say_what_the_tables_of_the_contexts_say(history: list[Order], limit: int) -> None:
    take_in(limit)
    assert sold() == truly_sold()
    assert len(sold()) >= 2
    assert listed() == truly_listed()
    shipped = CustomerOrder.objects.get(order_id=history[0].id)
    assert shipped.paid
    assert shipped.tracking_number.startswith("PX")
    assert shipped.told_at is not None
    assert shipped.contents == "2 x Mug"
    declined = CustomerOrder.objects.get(order_id=history[1].id)
    assert (declined.paid, declined.tracking_number) == (False, "")


def test_what_is_taken_in_and_how_far_that_is_commit_together(
    history: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Follower.save

    def die(self: Follower, *args: Any, **kwargs: Any) -> None:
        if self.name == "sales-by-day":
            raise OperationalError("the server goes away")
        saved(self, *args, **kwargs)

    monkeypatch.setattr(Follower, "save", die)
    with pytest.raises(OperationalError):
        follow(now=timezone.now())
    assert not SalesOfDay.objects.exists()
    monkeypatch.undo()
    take_in()
    take_in()
    assert sold() == truly_sold()


def test_two_that_follow_at_the_same_moment_count_nothing_twice(history: list[Order]) -> None:
    at_once(take_in, take_in, take_in)
    take_in()
    assert sold() == truly_sold()
    assert listed() == truly_listed()


def test_a_turn_costs_the_same_for_one_event_and_for_many(place: Place) -> None:
    costs = []
    for count in (1, 30):
        for _ in range(count):
            place()
        drive()
        with CaptureQueriesContext(connection) as made:
            follow(now=timezone.now())
        costs.append(len(made))
    assert costs[0] == costs[1]


def test_what_cannot_be_read_stops_one_read_model_in_front_of_it_until_code_can(
    history: list[Order], place: Place
) -> None:
    bad = Event.objects.filter(type="orders.order_rejected").earliest("log_position")
    assert bad.log_position is not None
    data = bad.data
    Event.objects.filter(pk=bad.pk).update(data={"nonsense": True})
    take_in()
    stopped = {lag.name: lag for lag in queries.followers(now=timezone.now())}["order-list"]
    assert (stopped.status, Follower.objects.get(name="order-list").position) == ("stopped", bad.log_position - 1)
    assert f"at {bad.log_position}: ValidationError" in stopped.error
    assert sold() == truly_sold(), "others go on"
    Event.objects.filter(pk=bad.pk).update(data=data)
    take_in()
    assert listed() == truly_listed()
    assert Follower.objects.get(name="order-list").error == ""


def test_a_paused_read_model_stands_still(history: list[Order]) -> None:
    Follower.objects.filter(name="order-list").update(paused_at=timezone.now())
    take_in()
    assert not CustomerOrder.objects.exists()
    Follower.objects.filter(name="order-list").update(paused_at=None)
    take_in()
    assert listed() == truly_listed()


# Rebuilding ----------------------------------------------------------------------------------------------------------


def rebuilt(name: str, *options: str) -> str:
    call_command("readmodels", "rebuild", name, *options, stdout=(out := StringIO()))
    return out.getvalue()


def definitions(table: type[Model]) -> set[str]:
    name = table._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = %s UNION ALL SELECT conname || pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE conrelid = %s::regclass",
            [name, name],
        )
        return {text for (text,) in cursor.fetchall()}


def test_a_rebuild_finds_what_is_wrong_and_puts_it_right(history: list[Order]) -> None:
    take_in()
    before = definitions(SalesOfDay)
    SalesOfDay.objects.filter(sku="LAMP").update(quantity=99)
    said = rebuilt("sales-by-day")
    assert "shop_salesofday: 1 only in the old copy, 1 only in the new one" in said
    assert said.endswith(f"rebuilt from {Event.objects.count():,} events, has taken the place of the old one.\n")
    assert sold() == truly_sold()
    assert definitions(SalesOfDay) == before
    assert "shop_salesofday: the same" in rebuilt("sales-by-day")
    assert not Follower.objects.filter(name__contains="rebuild").exists()


def test_a_comparison_changes_nothing(history: list[Order]) -> None:
    take_in()
    CustomerOrder.objects.update(status="gilded")
    said = rebuilt("order-list", "--compare")
    assert f"shop_customerorder: {len(history)} only in the old copy, {len(history)} only in the new one" in said
    assert set(CustomerOrder.objects.values_list("status", flat=True)) == {"gilded"}


def test_the_old_copy_serves_and_follows_while_the_new_one_is_built_and_orders_flow(
    history: list[Order], place: Place
) -> None:
    take_in()
    sales = model("sales-by-day")
    rebuild.begin(sales, now=timezone.now())
    assert rebuild.go_on(sales, now=timezone.now(), limit=10) == 10
    assert sold() == truly_sold()
    place()
    drive()
    take_in()
    assert sold() == truly_sold(), "the old one follows"
    while rebuild.go_on(sales, now=timezone.now(), limit=10) is not None:
        pass
    place()
    drive()
    take_in()
    found = rebuild.finish(sales, now=timezone.now())
    assert found.differences == {"shop_salesofday": (0, 0)}
    place()
    drive()
    take_in()
    assert sold() == truly_sold(), "the new one follows"


def test_a_rebuild_that_was_stopped_goes_on_where_it_was(history: list[Order]) -> None:
    take_in()
    sales = model("sales-by-day")
    rebuild.begin(sales, now=timezone.now())
    rebuild.go_on(sales, now=timezone.now(), limit=15)
    lags = {lag.name: lag for lag in queries.followers(now=timezone.now())}
    assert (lags["sales-by-day:rebuild"].status, lags["sales-by-day:rebuild"].events) == (
        "catching up",
        Event.objects.count() - 15,
    )
    said = rebuilt("sales-by-day", "--portion", "7")
    assert said.startswith("Going on at 15, where the last rebuild stopped.")
    assert "the same" in said
    assert sold() == truly_sold()


def test_a_rebuild_that_cannot_read_an_event_says_so_and_the_old_copy_stays(history: list[Order]) -> None:
    take_in()
    bad = Event.objects.filter(type="orders.order_confirmed").latest("log_position")
    assert bad.log_position is not None
    data = bad.data
    Event.objects.filter(pk=bad.pk).update(data={})
    with pytest.raises(CommandError, match=f"sales-by-day stopped at {bad.log_position}: ValidationError"):
        rebuilt("sales-by-day")
    assert sold() == truly_sold()
    Event.objects.filter(pk=bad.pk).update(data=data)
    assert rebuilt("sales-by-day").startswith(f"Going on at {bad.log_position - 1}")
    assert "the same" in rebuilt("sales-by-day", "--anew")


def test_a_rebuild_that_is_forgotten_leaves_nothing(history: list[Order]) -> None:
    take_in()
    rebuild.begin(model("sales-by-day"), now=timezone.now())
    assert rebuilt("sales-by-day", "--forget").startswith("Nothing is left of a rebuild of sales-by-day")
    assert not Follower.objects.filter(name__contains="rebuild").exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rebuild_%'")
        assert cursor.fetchone() == (0,)
    assert sold() == truly_sold()


def test_who_reads_for_long_is_not_waited_for(history: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_MAX_SECONDS_FOR_READERS", 1)
    take_in()
    reader = connection.copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM shop_salesofday")
            with pytest.raises(CommandError, match=r"lock timeout.*the same command goes on"):
                rebuilt("sales-by-day")
            cursor.execute("ROLLBACK")
    finally:
        reader.close()
    assert sold() == truly_sold()
    assert rebuilt("sales-by-day").startswith("Going on at")


def test_read_models_are_listed_with_their_lag(history: list[Order]) -> None:
    call_command("readmodels", "list", stdout=(out := StringIO()))
    assert [line.split()[:3] for line in out.getvalue().splitlines()] == [
        [name, "catching", "up"] for name in ("customer-feed", "order-list", "sales-by-day")
    ]


# The feed ------------------------------------------------------------------------------------------------------------


def told(limit: int = 20) -> list[tuple[str, str]]:
    return [(entry.number, entry.what) for entry in feed.of_customer("Ada@example.com", limit=limit)]


def test_ones_own_order_is_in_the_feed_at_once_and_what_became_of_it_soon(place: Place) -> None:
    order = place()
    assert told() == [(order.number, "placed")]
    drive()
    take_in()
    assert set(told()) == {(order.number, what) for what in ("placed", "shipped", "confirmed")}
    second = place()
    assert told()[0] == (second.number, "placed")
    assert len(told()) == 4


def test_the_feed_comes_back_by_itself_when_redis_was_emptied(place: Place, redis: "Redis") -> None:
    order = place()
    drive()
    take_in()
    before = told()
    redis.flushall()
    assert told() == [(order.number, "placed")]
    take_in()
    assert told() == before


def test_without_redis_one_sees_what_one_ordered(place: Place, settings: Settings) -> None:
    order = place()
    drive()
    settings.FEED_REDIS_URL = "redis://127.0.0.1:1/0"
    assert told() == [(order.number, "placed")]
    take_in()
    away = {lag.name: lag for lag in queries.followers(now=timezone.now())}["customer-feed"]
    assert away.status == "stopped"
    assert "its store is away" in away.error
    assert listed() == truly_listed(), "others go on"


def test_events_that_come_twice_are_one_entry(place: Place) -> None:
    place()
    drive()
    take_in()
    before = told()
    Follower.objects.filter(name="customer-feed").update(position=0)
    take_in()
    assert told() == before


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
    before = told(100)
    key = next(iter(redis.scan_iter("feed:1:*")))
    redis.zremrangebyrank(key, 0, 0)
    said = rebuilt("customer-feed")
    assert "customer-feed: 0 only in the old copy, 1 only in the new one" in said
    assert told(100) == before
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
    before, begin = told(100), feed.FeedStore.begin

    def die(_: feed.FeedStore) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:

        def begin_and_be_killed_later(store: feed.FeedStore) -> None:
            begin(store)
            killed.setattr(feed.FeedStore, killed_before, die)

        killed.setattr(feed.FeedStore, "begin", begin_and_be_killed_later)
        with pytest.raises(KeyboardInterrupt):
            rebuilt("customer-feed")
    assert told(100) == before
    assert left in keys_of(redis)
    redis.zadd(f"feed:{left}:ada@example.com", {'{"order_id": "x"}': 1})
    assert "the same" in rebuilt("customer-feed")
    assert told(100) == before
    assert len(keys_of(redis)) == 1


def test_a_new_copy_that_was_lost_with_redis_is_said_to_be(history: list[Order], redis: "Redis") -> None:
    take_in()
    model_ = model("customer-feed")
    rebuild.begin(model_, now=timezone.now())
    rebuild.go_on(model_, now=timezone.now(), limit=5)
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
