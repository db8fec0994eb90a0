"""The admin: finding orders, looking at them, who may do what, and editing beside running orders."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backoffice.inspect import _rounded
from inventory.models import Parcel, StockItem
from orders.models import Order, Product
from payments.models import CreditAccount
from sagas.models import Delivery, Run
from sagas.testing import drive
from shop.pages.navigation import UNFOLD
from tests.factories.credit import CreditAccountFactory
from tests.factories.journal import InterventionFactory
from tests.factories.orders import Place
from tests.factories.people import allowed
from tests.order_form import ADD, page, typed

LIST = "/admin/orders/order/"


# Finding and looking ----------------------------------------------------------------------------------------------


def listed(client: Client, **query: str) -> list[str]:
    return [order.number for order in client.get(LIST, query).context["cl"].result_list]


def test_orders_are_found_by_number_id_and_words_of_name_and_email(boss: Client, place: Place) -> None:
    ada, grace = place(), place(customer_name="Grace Hopper", customer_email="grace@example.com")
    assert listed(boss) == [grace.number, ada.number]
    for term in (
        ada.number, ada.number.lower(), str(ada.id), "ada@example.com", "ADA@example.com", "ada lo", "lovelace", "LOVE",
        "ada@", "ada@exam", "lovelace, ada",
    ):  # fmt: skip
        assert listed(boss, q=term) == [ada.number], term
    assert listed(boss, q="example.com") == [grace.number, ada.number]
    for term in ("ovelace", "ada hopper", "nobody@example.com", "'", "!&|", "%", "_"):
        assert listed(boss, q=term) == [], term
    assert listed(boss, q="\x00") == [grace.number, ada.number]


def test_orders_are_found_by_what_was_ordered_sent_and_imported(boss: Client, place: Place) -> None:
    mugs = place(lines=(("MUG", 1),), idempotency_key="import:536365")
    lamps = place(lines=(("LAMP", 1),), idempotency_key="import:5363651")
    drive()
    parcel = Parcel.objects.get(order_id=lamps.id)
    for term in ("MUG", "mug", "536365"):
        assert listed(boss, q=term) == [mugs.number], term
    for term in ("LAMP", "5363651", parcel.tracking_number, parcel.tracking_number.lower()):
        assert listed(boss, q=term) == [lamps.number], term


def test_the_list_marks_and_filters_what_needs_a_person(boss: Client, place: Place) -> None:
    stuck, parked, forgotten, fine = (place() for _ in range(4))
    drive()
    Run.objects.filter(key=str(stuck.id)).update(
        status="needs_attention", resumes_as="running", stopped_at=timezone.now(), finished_at=None
    )
    Delivery.objects.filter(key=str(parked.id)).update(status="parked")
    Order.objects.filter(id=forgotten.id).update(
        status="pending", decided_at=None, placed_at=timezone.now() - timedelta(minutes=6)
    )
    forgotten.refresh_from_db()
    rows = boss.get(LIST).context["cl"].result_list
    marked = {order.number: order.marked.text if order.marked else "" for order in rows}
    assert marked == {
        stuck.number: "It is stuck at “Notify customer” and needs a person.",
        parked.number: "“Send notification” gave up after 1 try and needs a person.",
        forgotten.number: f"It is still pending, since {forgotten.placed_at:%Y-%m-%d %H:%M:%S} UTC.",
        fine.number: "",
    }
    assert set(listed(boss, attention="yes")) == {stuck.number, parked.number, forgotten.number}
    assert listed(boss, status__exact="pending") == [forgotten.number]


@pytest.mark.parametrize(
    "path",
    [
        "orders/order", "orders/product", "inventory/stockitem", "inventory/reservation", "inventory/parcel",
        "payments/payment", "payments/creditaccount", "payments/credithold", "payments/fakecharge",
        "notifications/notification", "sagas/run", "sagas/event", "sagas/delivery",
        "django_celery_results/taskresult", "auth/user",
    ],
)  # fmt: skip
def test_a_list_needs_no_query_per_row(boss: Client, place: Place, path: str) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert boss.get(f"/admin/{path}/").status_code == 200
        return len(captured)

    def fill(orders: int) -> None:
        for number in range(orders):
            place("invoice" if number % 2 else "tok_visa")
        drive()

    CreditAccountFactory.create()
    fill(2)
    few = count()
    fill(6)
    assert count() == few
    assert few <= 10


@pytest.mark.parametrize(
    "path",
    ["sagas/run", "sagas/event", "sagas/delivery", "payments/payment", "inventory/reservation", "inventory/parcel"],
)
def test_searching_for_anything_finds_or_finds_nothing(boss: Client, place: Place, path: str) -> None:
    order = place()
    drive()
    found = boss.get(f"/admin/{path}/", {"q": str(order.id)}).context["cl"].result_count
    assert found >= 1
    for term in ("1", "x", "9" * 40, "\x00", "' OR 1=1", str(uuid4())):
        assert boss.get(f"/admin/{path}/", {"q": term}).status_code == 200


def test_a_list_says_how_many_there_are_and_goes_no_further_than_it_counts(
    boss: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        place()
    monkeypatch.setattr("shop.admin.orders.OrderAdmin.list_per_page", 2)
    assert _pages_of(boss, LIST) == ("4", [1, 2])
    monkeypatch.setattr("backoffice.inspect._COUNTED", 3)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE orders_order")
    assert _pages_of(boss, LIST) == ("about 4, of which 3 are listed:", [1, 2])
    assert _pages_of(boss, f"{LIST}?status__exact=pending") == ("3 or more, of which 3 are listed:", [1, 2])
    monkeypatch.setattr("backoffice.inspect._COUNTED", 2)
    assert _pages_of(boss, LIST) == ("about 4, of which 2 are listed:", [1])


def _pages_of(client: Client, url: str) -> tuple[str, list[int]]:
    answer = client.get(url)
    paginator = answer.context["cl"].paginator
    assert paginator.said in answer.content.decode()
    return paginator.said, list(paginator.page_range)


@pytest.mark.parametrize(("count", "said"), [(1_000_042, 1_000_000), (123_456, 120_000), (98, 98), (7, 7)])
def test_an_estimate_is_rounded_to_what_may_be_believed(count: int, said: int) -> None:
    assert _rounded(count) == said


def test_a_search_leads_through_other_tables(boss: Client, place: Place) -> None:
    order = place()
    drive()
    (delivery,) = Delivery.objects.all()
    run = Run.objects.get()
    asked = [
        InterventionFactory.create(key=subject.key, kind=kind, subject_id=str(subject.pk))
        for kind, subject in (("run", run), ("delivery", delivery))
    ]
    found = {
        f"/admin/sagas/delivery/?q={order.id}": [delivery],
        f"/admin/sagas/delivery/?q={delivery.pk}": [delivery],
        "/admin/sagas/delivery/?q=2000000000": [],
        f"/admin/sagas/intervention/?q={order.id}": asked[::-1],
        f"/admin/sagas/intervention/?q={asked[0].batch}": asked[:1],
        "/admin/sagas/intervention/?q=boss": asked[::-1],
    }
    assert {url: list(boss.get(url).context["cl"].result_list) for url in found} == found


def test_the_page_of_an_order_shows_its_story(boss: Client, place: Place) -> None:
    order = place("tok_chargeDeclined")
    drive()
    html = boss.get(page(order)).content.decode()
    for words in ("Rejected", "Ada Lovelace", "£20.00", "Release stock", "Your card was declined.", "Traceback"):
        assert words in html
    assert 'data-poll-ms="5000"' in html, "the books are looked at once all is over"
    story = boss.get(f"/admin/orders/order/{order.id}/story/").content.decode()
    assert "<html" not in story
    assert "Release stock" in story


def test_the_page_of_an_order_under_way_asks_again_each_second(boss: Client, place: Place) -> None:
    fresh, older = place(), place(now=timezone.now() - timedelta(seconds=6))
    assert 'data-poll-ms="300"' in boss.get(page(fresh)).content.decode()
    assert 'data-poll-ms="1000"' in boss.get(page(older)).content.decode()


def test_the_page_of_an_order_costs_the_same_for_any_order(boss: Client, place: Place) -> None:
    def count(order: Order) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert boss.get(page(order)).status_code == 200
        return len(captured)

    small, large = place(), place("tok_chargeDeclined", lines=(("MUG", 1), ("TRAY", 2), ("LAMP", 3)))
    drive()
    assert count(small) == count(large) == 28


def test_a_page_is_called_in_its_title_as_in_the_navigation(boss: Client) -> None:
    groups = {group["title"]: group["items"] for group in UNFOLD["SIDEBAR"]["navigation"]}
    assert len(groups) == 7
    for title, items in groups.items():
        for item in items:
            assert apps.get_app_config(str(item["link"]).split("/")[2]).verbose_name == title
    assert "Select message to view" in boss.get("/admin/notifications/notification/").content.decode()


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("sagas/intervention/queue/", "Work queue"),
        ("sagas/intervention/", "Interventions"),
        ("sagas/run/", "Runs"),
        ("", None),
    ],
)
def test_one_entry_of_the_navigation_is_that_of_the_page(boss: Client, path: str, title: str | None) -> None:
    groups = boss.get(f"/admin/{path}").context["sidebar_navigation"]
    active = [item["title"] for group in groups for item in group["items"] if item["active"]]
    assert active == ([title] if title else [])


def test_the_pages_of_runs_and_interventions_show_json_with_its_letters(boss: Client, place: Place) -> None:
    order = place()
    drive()
    run = Run.objects.get()
    asked = InterventionFactory.create(
        subject_id=str(run.pk), key=str(order.id), action="skip", result={"charged": "£10.00"}
    )
    for row in (run, asked):
        shown = boss.get(f"/admin/sagas/{row._meta.model_name}/{row.pk}/change/").content.decode()
        assert "£" in shown
        assert "\\u00a3" not in shown


def test_an_order_that_is_not_there_is_not_found(boss: Client) -> None:
    for path in (f"{uuid4()}/change/", "nonsense/change/", f"{uuid4()}/story/"):
        assert boss.get(LIST + path).status_code == 404


def test_the_first_page_shows_the_figures_of_the_day(boss: Client, place: Place) -> None:
    place()
    place("tok_chargeDeclined")
    drive()
    response = boss.get("/admin/")
    html = re.sub(r"<[^>]+>|\s+", " ", response.content.decode())
    assert re.search(r"1\s+confirmed today", html)
    assert re.search(r"1\s+rejected today", html)
    behind = {figure["name"]: figure["url"] for figure in response.context["figures"]}
    assert boss.get(behind["confirmed today"]).context["cl"].result_count == 1
    assert all(boss.get(url).status_code == 200 for url in behind.values())


# Who may do what --------------------------------------------------------------------------------------------------


def test_who_may_only_look_sees_no_buttons_and_is_refused(place: Place) -> None:
    order, viewer = place(), allowed("orders.view_order")
    for path in (LIST, page(order)):
        html = viewer.get(path).content.decode()
        assert ADD not in html
        assert "Technical details" not in html
    assert viewer.get(ADD).status_code == 403
    assert viewer.post(ADD, typed(("MUG", 1))).status_code == 403
    assert viewer.get("/admin/orders/order/prices/").status_code == 403
    assert viewer.post(page(order), {}).status_code == 403
    assert viewer.get(f"{LIST}{order.id}/delete/").status_code == 403
    assert viewer.get("/admin/sagas/run/").status_code == 403
    assert Order.objects.count() == 1


def test_who_may_place_orders_needs_no_other_right(shelves: None) -> None:
    clerk = allowed("orders.add_order")
    response = clerk.post(ADD, typed(("MUG", 1)))
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/")
    assert clerk.get(page(Order.objects.get())).status_code == 403


def test_who_has_no_rights_is_refused(place: Place) -> None:
    order, nobody = place(), allowed()
    for path in (LIST, ADD, page(order), f"{LIST}{order.id}/story/"):
        assert nobody.get(path).status_code == 403, path
    assert Client().get(page(order)).status_code == 302


@pytest.mark.parametrize("path", ["sagas/run", "sagas/event", "sagas/delivery", "payments/payment", "inventory/parcel"])
def test_nobody_changes_the_journal_or_the_money(boss: Client, place: Place, path: str) -> None:
    place()
    drive()
    row = boss.get(f"/admin/{path}/").context["cl"].result_list[0]
    assert boss.get(f"/admin/{path}/{row.pk}/change/").status_code == 200
    assert boss.post(f"/admin/{path}/{row.pk}/change/", {}).status_code == 403
    assert boss.get(f"/admin/{path}/{row.pk}/delete/").status_code == 403
    assert boss.get(f"/admin/{path}/add/").status_code == 403


# Editing beside running orders ------------------------------------------------------------------------------------


def test_stock_is_corrected_by_difference(boss: Client) -> None:
    mug = StockItem.objects.get(sku="MUG")
    # Somebody reads 100 and types 120; meanwhile 30 were shipped.
    StockItem.objects.update(on_hand=70)
    boss.post(f"/admin/inventory/stockitem/{mug.pk}/change/", {"on_hand": 120, "shown": 100})
    mug.refresh_from_db()
    assert mug.on_hand == 90


def test_stock_that_is_promised_cannot_be_taken_away(boss: Client) -> None:
    mug = StockItem.objects.get(sku="MUG")
    StockItem.objects.update(reserved=50)
    response = boss.post(f"/admin/inventory/stockitem/{mug.pk}/change/", {"on_hand": 40, "shown": 100})
    assert "50 are promised" in response.content.decode()
    mug.refresh_from_db()
    assert (mug.on_hand, mug.reserved) == (100, 50)


def test_a_price_is_typed_as_people_write_it(boss: Client) -> None:
    mug = Product.objects.get(sku="MUG")
    path = f"/admin/orders/product/{mug.pk}/change/"
    assert 'value="10.00"' in boss.get(path).content.decode()
    boss.post(path, {"name": "Mug", "price_minor": "1,234.50", "active": "on"})
    mug.refresh_from_db()
    assert (mug.price_minor, mug.sku) == (123_450, "MUG")
    for wrong in ("0", "-1", "1.005", "free", "", "1e3", "nan", "12,50", "1,2345"):
        response = boss.post(path, {"name": "Mug", "price_minor": wrong, "active": "on"})
        assert response.status_code == 200, wrong
    mug.refresh_from_db()
    assert mug.price_minor == 123_450


def test_a_credit_limit_cannot_go_below_what_is_held(boss: Client) -> None:
    account = CreditAccountFactory.create(limit_minor=10_000)
    CreditAccount.objects.update(held_minor=5_000)
    path = f"/admin/payments/creditaccount/{account.pk}/change/"
    assert boss.post(path, {"limit_minor": "49.99"}).status_code == 200
    assert boss.post(path, {"limit_minor": "50.00"}).status_code == 302
    account.refresh_from_db()
    assert (account.limit_minor, account.held_minor) == (5_000, 5_000)


def test_a_new_product_is_added_and_ordered(boss: Client) -> None:
    asked = {"sku": "BOWL", "name": "Bowl", "price_minor": "4", "currency": settings.CURRENCY, "active": "on"}
    assert boss.post("/admin/orders/product/add/", asked).status_code == 302
    assert boss.post("/admin/inventory/stockitem/add/", {"sku": "BOWL", "on_hand": 5}).status_code == 302
    assert boss.post(ADD, typed(("BOWL", 5))).status_code == 302
