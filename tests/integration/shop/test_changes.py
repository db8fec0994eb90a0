"""What the write-ahead log serves: a trail of what became of rows, and a cache that is forgotten in time."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from inventory.models import StockItem
from orders import services as orders
from orders.models import Product
from sagas.cdc import audit, slots
from sagas.cdc.audit import Watcher
from sagas.cdc.capture import Capture
from sagas.core import registry
from sagas.core.registry import Registry
from sagas.models import AuditRecord
from sagas.testing import drive
from shop.catalogue import CATALOGUE, page
from shop.platform import cache as shop_cache
from shop.platform import environment
from tests.conftest import wait_for
from tests.factories.credit import CreditAccountFactory
from tests.factories.orders import Place
from tests.factories.people import StaffFactory, browser_of, browser_of_the_boss

Watch = Callable[[], Watcher]
SLOT = "tests_changes"
PRODUCTS = "/api/products"

pytestmark = pytest.mark.usefixtures("nothing_is_cached")


def execute(statement: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)  # type: ignore[arg-type]


def is_followed() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [SLOT])
        row = cursor.fetchone()
        return bool(row and row[0])


@pytest.fixture
def watcher(shelves: None) -> Iterator[Watcher]:
    with Capture(audit.slot(SLOT)) as capture:
        yield Watcher(capture)
    wait_for(lambda: not is_followed())
    slots.drop(SLOT)


def trail(watcher: Watcher, count: int) -> list[AuditRecord]:
    """Return the newest records once there are so many, the oldest first."""

    def kept() -> bool:
        watcher.work()
        return AuditRecord.objects.exclude(action="begin").count() >= count

    wait_for(kept)
    return list(AuditRecord.objects.exclude(action="begin").order_by("id"))[-count:]


# The trail -----------------------------------------------------------------------------------------------------------


def test_a_price_typed_in_sql_is_in_the_trail_with_what_it_was(watcher: Watcher) -> None:
    execute("UPDATE orders_product SET price_minor = 1 WHERE sku = 'MUG'")
    (record,) = trail(watcher, 1)
    assert (record.table, record.name, record.action) == ("orders_product", "MUG", "update")
    assert record.row == str(Product.objects.get(sku="MUG").pk)
    assert (record.before, record.after) == ({"price_minor": "1000"}, {"price_minor": "1"})
    assert record.events == []
    assert abs((timezone.now() - record.committed_at).total_seconds()) < 60


def test_rows_that_come_and_go_are_kept_whole(watcher: Watcher) -> None:
    CreditAccountFactory.create(limit_minor=5000)
    execute("DELETE FROM payments_creditaccount")
    came, went = trail(watcher, 2)
    assert (came.action, came.before, came.after["limit_minor"]) == ("insert", {}, "5000")
    assert (went.action, went.name, went.before["limit_minor"], went.after) == ("delete", "ada@example.com", "5000", {})


def test_a_table_that_is_emptied_is_in_the_trail(watcher: Watcher) -> None:
    execute("TRUNCATE payments_creditaccount CASCADE")
    (record,) = trail(watcher, 1)
    assert (record.table, record.action) == ("payments_creditaccount", "truncate")


def test_what_services_do_is_kept_with_the_events_that_tell_of_it(watcher: Watcher, place: Place) -> None:
    order = place()
    drive(now=timezone.now)
    order.refresh_from_db()
    assert order.status == "confirmed"

    def is_whole() -> bool:
        watcher.work()
        return AuditRecord.objects.filter(table="orders_order", action="update").exists()

    wait_for(is_whole)
    placed, confirmed = AuditRecord.objects.filter(table="orders_order", name=order.number).order_by("id")
    assert (placed.action, placed.events) == ("insert", ["orders.order_placed"])
    assert confirmed.after["status"] == "confirmed"
    assert confirmed.before == {"status": "pending", "decided_at": None}
    assert confirmed.events
    assert "orders.order_confirmed" in confirmed.events
    reserved = AuditRecord.objects.filter(table="inventory_stockitem", name="MUG").order_by("id").first()
    assert reserved is not None
    assert (reserved.before, reserved.after) == ({"reserved": "0"}, {"reserved": "2"})
    assert not AuditRecord.objects.filter(events=[]).exclude(action="begin").exists()


def test_a_change_in_the_admin_is_kept_with_its_user_and_leads_to_djangos_history(watcher: Watcher) -> None:
    mug = Product.objects.get(sku="MUG")
    client = browser_of(StaffFactory.create(username="ada", boss=True))
    typed = {"name": mug.name, "price_minor": "11.00", "active": "on"}
    assert client.post(f"/admin/orders/product/{mug.pk}/change/", typed).status_code == 302
    execute("UPDATE orders_product SET price_minor = 1 WHERE sku = 'MUG'")
    in_admin, in_sql = trail(watcher, 2)
    assert (in_admin.after, in_admin.by) == ({"price_minor": "1100"}, "ada")
    assert (in_sql.after, in_sql.by, in_sql.log_entry) == ({"price_minor": "1"}, "", None)
    shown = client.get(f"/admin/sagas/auditrecord/{in_admin.pk}/change/").content.decode()
    assert f"/admin/orders/product/{mug.pk}/history/" in shown
    assert client.get(f"/admin/orders/product/{mug.pk}/history/").status_code == 200
    assert list(client.get("/admin/sagas/auditrecord/?q=ada").context["cl"].result_list) == [in_admin]


def test_a_payment_is_named_by_the_number_of_its_order(watcher: Watcher, place: Place) -> None:
    order = place()
    drive(now=timezone.now)
    execute("UPDATE payments_payment SET amount_minor = 1")
    payments = AuditRecord.objects.filter(table="payments_payment", after__amount_minor="1")

    def is_kept() -> bool:
        watcher.work()
        return payments.exists()

    wait_for(is_kept)
    client = browser_of(StaffFactory.create(username="ada", boss=True))
    link = f'href="/admin/orders/order/{order.id}/change/">Order {order.number}</a>'
    found = client.get("/admin/sagas/auditrecord/", {"q": order.number})
    assert payments.get() in found.context["cl"].result_list
    assert link in found.content.decode()
    assert link in client.get(f"/admin/sagas/auditrecord/{payments.get().pk}/change/").content.decode()


def test_what_is_rolled_back_or_changes_nothing_is_not_in_the_trail(watcher: Watcher) -> None:
    with transaction.atomic():
        execute("UPDATE orders_product SET price_minor = 1")
        transaction.set_rollback(True)
    execute("UPDATE orders_product SET price_minor = price_minor")
    execute("UPDATE inventory_stockitem SET on_hand = 7 WHERE sku = 'MUG'")
    (record,) = trail(watcher, 1)
    assert (record.table, record.after) == ("inventory_stockitem", {"on_hand": "7"})
    assert AuditRecord.objects.exclude(action="begin").count() == 1


def test_what_is_told_twice_is_kept_once(shelves: None) -> None:
    """The first one dies after its commit, before it confirms."""
    try:
        with Capture(audit.slot(SLOT)) as capture, pytest.MonkeyPatch.context() as patch:
            patch.setattr(capture, "confirm", lambda _: None)
            execute("UPDATE orders_product SET price_minor = 1")
            first = [(record.lsn, record.number) for record in trail(Watcher(capture), 3)]
        wait_for(lambda: not is_followed())
        with Capture(audit.slot(SLOT)) as capture:
            again = Watcher(capture)
            execute("UPDATE orders_product SET price_minor = 2 WHERE sku = 'MUG'")
            trail(again, 4)
    finally:
        wait_for(lambda: not is_followed())
        slots.drop(SLOT)
    assert first == list(AuditRecord.objects.exclude(action="begin").order_by("id").values_list("lsn", "number"))[:3]
    assert AuditRecord.objects.exclude(action="begin").count() == 4
    assert AuditRecord.objects.filter(action="begin").count() == 1


def test_a_large_transaction_is_kept_whole(watcher: Watcher) -> None:
    orders.add_products([(f"SKU-{number}", f"Product {number}", 100) for number in range(12_000)], currency="GBP")
    execute("UPDATE orders_product SET price_minor = price_minor + 1 WHERE sku LIKE 'SKU-%%'")
    records = trail(watcher, 24_000)
    assert [record.number for record in records[12_000:]] == list(range(1, 12_001))
    assert {record.lsn for record in records[12_000:]} == {records[-1].lsn}


def test_the_trail_is_only_added_to_unless_somebody_says_so(watcher: Watcher) -> None:
    execute("UPDATE orders_product SET price_minor = 1 WHERE sku = 'MUG'")
    trail(watcher, 1)
    for statement in ("UPDATE sagas_auditrecord SET after = '{}'", "DELETE FROM sagas_auditrecord"):
        with pytest.raises(DatabaseError, match="only added to"):
            execute(statement)
    with transaction.atomic():
        execute("SET LOCAL sagas.forget = 'on'")
        execute("DELETE FROM sagas_auditrecord")
    assert not AuditRecord.objects.exists()


def test_the_admin_shows_the_trail_and_finds_a_row_by_its_name(watcher: Watcher) -> None:
    execute("UPDATE orders_product SET price_minor = 1 WHERE sku = 'MUG'")
    StockItem.objects.filter(sku="TRAY").update(on_hand=3)
    price, _ = trail(watcher, 2)
    boss = browser_of_the_boss()
    everything = boss.get("/admin/sagas/auditrecord/").content.decode()
    assert "price_minor: 1000 → 1" in everything
    assert "on_hand: 100 → 3" in everything
    assert "The trail begins" in everything
    found = boss.get("/admin/sagas/auditrecord/?q=MUG").content.decode()
    assert ("price_minor: 1000 → 1" in found, "on_hand" in found) == (True, False)
    filtered = boss.get("/admin/sagas/auditrecord/?table=inventory_stockitem&event=no").content.decode()
    assert ("price_minor: 1000" in filtered, "on_hand: 100 → 3" in filtered) == (False, True)
    one = boss.get(f"/admin/sagas/auditrecord/{price.pk}/change/").content.decode()
    assert "1000 → 1" in one


def test_changes_without_an_event_are_found_in_an_index_that_holds_nothing_else(transactional_db: None) -> None:
    execute("ANALYZE sagas_auditrecord")
    with transaction.atomic():
        execute("SET LOCAL enable_seqscan = off")
        plan = AuditRecord.objects.filter(events=[]).order_by("-id")[:100].explain()
    assert "using sagas_audit_without_event" in plan


def test_every_audited_table_has_its_whole_rows_in_the_log(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relreplident = 'f'")
        assert {name for (name,) in cursor.fetchall()} == set(registry.audited())


# The cache -----------------------------------------------------------------------------------------------------------


def prices() -> dict[str, int]:
    answer = Client().get(PRODUCTS, headers={"Authorization": "Bearer test-token"})
    assert answer.status_code == 200
    return {product["sku"]: product["price_minor"] for product in answer.json()}


def test_a_price_changed_in_sql_shows_once_the_log_tells_of_it(watcher: Watcher) -> None:
    watcher.work()
    assert prices() == {"LAMP": 5000, "MUG": 1000, "TRAY": 2500}
    execute("UPDATE orders_product SET price_minor = 1234 WHERE sku = 'MUG'")
    assert prices()["MUG"] == 1000
    trail(watcher, 1)
    assert prices()["MUG"] == 1234


def test_without_anybody_who_tells_the_cache_is_old_for_a_while_only(
    shelves: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CATALOGUE, "seconds", 1)
    assert prices()["MUG"] == 1000
    execute("UPDATE orders_product SET price_minor = 1234 WHERE sku = 'MUG'")
    assert prices()["MUG"] == 1000
    wait_for(lambda: prices()["MUG"] == 1234, seconds=5)


@pytest.mark.parametrize(
    ("query", "status"), [("", 401), ("?limit=0", 422), ("?limit=501", 422), ("?after=" + "x" * 41, 422)]
)
def test_the_catalogue_is_for_those_with_the_token_and_a_page_at_a_time(shelves: None, query: str, status: int) -> None:
    headers = {"Authorization": "Bearer test-token"} if query else {}
    assert Client().get(PRODUCTS + query, headers=headers).status_code == status


def test_what_is_cached_is_not_read(shelves: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert prices() == prices()


def test_pages_are_cached_each_for_itself_and_forgotten_together(shelves: None) -> None:
    assert [product["sku"] for product in page(after="", limit=2)] == ["LAMP", "MUG"]
    assert [product["sku"] for product in page(after="MUG", limit=2)] == ["TRAY"]
    Product.objects.update(active=False)
    CATALOGUE.forget()
    assert page(after="", limit=2) == page(after="MUG", limit=2) == []


def test_who_read_before_the_change_does_not_bring_the_old_answer_back(shelves: None) -> None:
    def read_slowly() -> list[int]:
        price = Product.objects.get(sku="MUG").price_minor
        execute("UPDATE orders_product SET price_minor = 1234 WHERE sku = 'MUG'")
        CATALOGUE.forget()  # comes between the slow reader's look and its write
        return [price]

    assert CATALOGUE.get("mug", read_slowly) == [1000]
    assert CATALOGUE.get("mug", lambda: [Product.objects.get(sku="MUG").price_minor]) == [1234]


def test_a_cache_that_is_away_costs_the_cache_only(shelves: None, settings: Settings) -> None:
    settings.CACHES = {"default": shop_cache.config("unix:///nowhere/redis.sock?db=1")}
    assert prices()["MUG"] == 1000


def test_what_could_not_be_forgotten_is_forgotten_later(watcher: Watcher) -> None:
    watcher.work()
    called = threading.Event()

    def away() -> None:
        called.set()
        raise ConnectionError

    with Registry(audited=registry.audited().values(), on_change={"orders_product": away}).active():
        assert prices()["MUG"] == 1000
        execute("UPDATE orders_product SET price_minor = 1234 WHERE sku = 'MUG'")
        trail(watcher, 1)
    assert called.is_set()
    watcher.work()
    assert prices()["MUG"] == 1234


@pytest.mark.parametrize(
    ("broker", "address"),
    [
        ("redis+socket:///tmp/shop/redis.sock?virtual_host=0", "unix:///tmp/shop/redis.sock?db=1"),
        ("redis://:secret@host:6379/0", "redis://:secret@host:6379/1"),
        ("rediss://host:6379/0?ssl_cert_reqs=required", "rediss://host:6379/1?ssl_cert_reqs=required"),
        ("redis://host", "redis://host/1"),
        ("amqp://host//", ""),
    ],
)
def test_the_cache_lies_beside_the_broker_where_that_is_a_redis(broker: str, address: str) -> None:
    assert environment.redis_url(broker, database=1) == address
