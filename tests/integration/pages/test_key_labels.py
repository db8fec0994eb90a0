"""Where a row has the id of an order, its page has the order's number, with a link, and is found by it."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from sagas.core.statuses import Action
from sagas.models import Run
from sagas.operations import interventions
from sagas.testing import drive
from tests.factories.credit import CreditAccountFactory
from tests.factories.orders import Place

LISTS = [
    "payments/payment", "inventory/reservation", "inventory/parcel", "notifications/notification", "sagas/run",
    "sagas/event", "sagas/delivery", "sagas/intervention",
]  # fmt: skip


def link_to(order: Order) -> str:
    return f'href="/admin/orders/order/{order.id}/change/">Order {order.number}</a>'


@pytest.fixture
def order(place: Place) -> Order:
    order = place()
    drive()
    interventions.ask([Run.objects.get()], Action.PAUSE, reason="why", by="ada", now=timezone.now())
    return order


@pytest.mark.parametrize("path", LISTS)
def test_the_list_and_the_page_name_the_order_and_lead_to_it(boss: Client, order: Order, path: str) -> None:
    rows = boss.get(f"/admin/{path}/")
    assert link_to(order) in rows.content.decode()
    row = rows.context["cl"].result_list[0]
    assert link_to(order) in boss.get(f"/admin/{path}/{row.pk}/change/").content.decode()


@pytest.mark.parametrize("path", LISTS)
def test_a_row_is_found_by_the_number_of_its_order(boss: Client, order: Order, place: Place, path: str) -> None:
    place()
    drive()
    found = boss.get(f"/admin/{path}/", {"q": order.number.lower()}).context["cl"].result_list
    keys = {str(getattr(row, "order_id", None) or row.key) for row in found}
    assert keys == {str(order.id)}


def test_credit_holds_name_the_order_too(boss: Client, place: Place) -> None:
    CreditAccountFactory.create()
    orders = [place("invoice"), place("invoice")]
    drive()
    for order in orders:
        rows = boss.get("/admin/payments/credithold/", {"q": order.number}).context["cl"].result_list
        assert [row.order_id for row in rows] == [order.id]
        for path in ("", f"{rows[0].pk}/change/"):
            assert link_to(order) in boss.get(f"/admin/payments/credithold/{path}").content.decode()


def test_a_page_of_labels_costs_one_statement(boss: Client, place: Place) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert boss.get("/admin/sagas/run/").status_code == 200
        return len(captured)

    place()
    drive()
    few = count()
    for _ in range(5):
        place()
    drive()
    assert count() == few


def test_the_list_in_a_terminal_has_a_header_number_and_moment(order: Order) -> None:
    call_command("sagas", "list", stdout=(out := StringIO()))
    header, row = (line.split("  ") for line in out.getvalue().splitlines())
    run = Run.objects.get()
    assert [column.strip() for column in header if column] == ["CALLED", "SAGA", "STATUS", "STARTED", "RUN", "WHY"]
    assert [column.strip() for column in row if column] == [
        f"Order {order.number}", "fulfil-order", "completed", f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC", str(run.pk),
    ]  # fmt: skip
