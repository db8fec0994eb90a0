"""Read models are rebuilt while they serve."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from orders.models import Order
from sagas.log import rebuild
from sagas.models import Event, Follower
from sagas.operations import queries
from sagas.testing import drive
from shop.models import CustomerOrder, SalesOfDay
from tests.factories.orders import Place

from .conftest import model, rebuilt, sold, take_in, truly_sold

pytestmark = pytest.mark.usefixtures("longest_pauses")


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
    rebuild.start(sales, now=timezone.now())
    assert rebuild.go_on(sales, limit=10) == 10
    assert sold() == truly_sold()
    place()
    drive()
    take_in()
    assert sold() == truly_sold(), "the old one follows"
    while rebuild.go_on(sales, limit=10) is not None:
        pass
    place()
    drive()
    take_in()
    found = rebuild.finish(sales)
    assert found.differences == {"shop_salesofday": (0, 0)}
    place()
    drive()
    take_in()
    assert sold() == truly_sold(), "the new one follows"


def test_a_rebuild_that_was_stopped_goes_on_where_it_was(history: list[Order]) -> None:
    take_in()
    sales = model("sales-by-day")
    rebuild.start(sales, now=timezone.now())
    rebuild.go_on(sales, limit=15)
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
    rebuild.start(model("sales-by-day"), now=timezone.now())
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
