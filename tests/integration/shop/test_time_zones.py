"""Days and moments are those of the shop's zone, `TIME_ZONE`: in reports, lists, pages and forms."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from backoffice import moments
from orders.models import Order
from sagas.log import followers
from sagas.log.read_models import follow
from sagas.testing import MovableClock, drive
from shop.admin.order_list import PlacedFilter
from shop.models import SalesOfDay
from tests.factories.orders import Place
from tests.factories.people import allowed


@pytest.fixture
def london(settings: Settings) -> Settings:
    settings.TIME_ZONE = "Europe/London"
    return settings


@pytest.fixture
def confirmed(place: Place) -> Callable[[str], Order]:
    """Place an order of two mugs at a moment (UTC) and drive it to its end at the same one."""

    def confirmed(at: str) -> Order:
        clock = MovableClock()
        clock.time = datetime.fromisoformat(f"{at}+00:00")
        order = place(now=clock())
        drive(now=clock)
        return order

    return confirmed


def take_in() -> None:
    while follow(limit=500):
        pass


def sold() -> list[tuple[str, str, int]]:
    rows = SalesOfDay.objects.order_by("day", "zone").values_list("day", "zone", "orders")
    return [(str(day), zone, orders) for day, zone, orders in rows]


def rebuild() -> str:
    call_command("readmodels", "rebuild", "sales-by-day", stdout=(said := StringIO()))
    return said.getvalue()


@pytest.mark.django_db(transaction=True)
def test_sales_are_counted_by_the_days_of_the_zone_live_and_by_a_rebuild(
    london: Settings, confirmed: Callable[[str], Order]
) -> None:
    followers.create_missing(now=timezone.now())
    for at in (
        "2026-03-28T23:30",  # 23:30 GMT
        "2026-03-29T00:30",  # the day of 23 hours
        "2026-03-29T22:30",  # 23:30 BST
        "2026-03-29T23:30",  # 00:30 BST: the next day
        "2026-10-24T22:30",
        "2026-10-24T23:30",  # 00:30 BST: the day of 25 hours
        "2026-10-25T00:30",  # 01:30 BST
        "2026-10-25T01:30",  # 01:30 GMT
        "2026-10-25T23:30",  # 23:30 GMT
        "2026-10-26T00:30",
    ):
        confirmed(at)
    take_in()
    expected = [
        ("2026-03-28", "Europe/London", 1),
        ("2026-03-29", "Europe/London", 2),
        ("2026-03-30", "Europe/London", 1),
        ("2026-10-24", "Europe/London", 1),
        ("2026-10-25", "Europe/London", 4),
        ("2026-10-26", "Europe/London", 1),
    ]
    assert sold() == expected
    assert "shop_salesofday: the same" in rebuild()
    assert sold() == expected


@pytest.mark.django_db(transaction=True)
def test_another_zone_is_never_added_to_the_days_of_the_old_one_and_a_rebuild_counts_all_in_it(
    settings: Settings, confirmed: Callable[[str], Order]
) -> None:
    followers.create_missing(now=timezone.now())
    confirmed("2026-07-01T23:30")
    take_in()
    assert sold() == [("2026-07-01", "UTC", 1)]
    settings.TIME_ZONE = "Europe/London"
    confirmed("2026-07-01T12:00")
    take_in()
    assert sold() == [("2026-07-01", "Europe/London", 1), ("2026-07-01", "UTC", 1)]
    rebuild()
    assert sold() == [("2026-07-01", "Europe/London", 1), ("2026-07-02", "Europe/London", 1)]


def test_today_is_the_day_of_the_zone_and_leads_to_the_list_of_its_orders(settings: Settings, place: Place) -> None:
    staff = allowed("orders.view_order")
    now = timezone.now()
    # A zone in which the day began between one and two hours ago: not the day of UTC, but for one hour a day.
    hours = (now.hour - 1 + 12) % 24 - 12
    settings.TIME_ZONE = f"Etc/GMT{hours:+d}"
    place(now=moments.midnight(now))
    place(now=moments.midnight(now) - timedelta(seconds=1))
    response = staff.get("/admin/")
    assert response.context["zone"] == settings.TIME_ZONE
    assert settings.TIME_ZONE in response.content.decode()
    (pending,) = [figure for figure in response.context["figures"] if figure["name"] == "pending today"]
    assert pending["value"] == 1
    listed = staff.get(pending["url"])
    assert listed.context["cl"].result_count == 1
    (by_day,) = [spec for spec in listed.context["cl"].filter_specs if isinstance(spec, PlacedFilter)]
    assert by_day.title == f"placed at ({settings.TIME_ZONE})"
    chosen = [choice["display"] for choice in by_day.choices(listed.context["cl"]) if choice["selected"]]
    assert chosen == ["Today"]


def test_pages_show_moments_of_the_zone_and_name_it(london: Settings, confirmed: Callable[[str], Order]) -> None:
    order = confirmed("2026-07-01T23:30")
    staff = allowed("orders.view_order", "shop.view_salesofday", "payments.view_payment")
    page = staff.get(reverse("admin:orders_order_change", args=[order.pk])).content.decode()
    assert "2 July 2026, 00:30:00 BST" in page
    assert "Times are those of Europe/London" in page
    assert "UTC" not in page
    payment = staff.get("/admin/payments/payment/").content.decode()
    assert "2026-07-02 00:30:00 BST" in payment


def test_the_sales_of_a_day_name_its_zone(london: Settings, confirmed: Callable[[str], Order]) -> None:
    SalesOfDay.objects.create(
        day="2026-07-02",
        zone="Europe/London",
        sku="MUG",
        name="Mug",
        currency="GBP",
        orders=1,
        quantity=1,
        total_minor=1,
    )
    html = allowed("shop.view_salesofday").get("/admin/shop/salesofday/").content.decode()
    assert "2026-07-02" in html
    assert "Europe/London" in html


def test_moments_are_typed_in_the_zone(london: Settings, confirmed: Callable[[str], Order]) -> None:
    order = confirmed("2026-07-01T23:30")
    url, staff = reverse("admin:orders_order_as_of", args=[order.pk]), allowed("orders.view_order")
    page = staff.get(url, {"at": "2026-07-02T00:29"}).context["page"]
    assert page.note == "At this moment there was no such order: it was placed at 2 Jul 2026, 00:30:00.000 BST."
    page = staff.get(url, {"at": "2026-07-02T00:30"}).context["page"]
    assert (page.status, page.heading) == ("Confirmed", "As of 2 Jul 2026, 00:30:00.000 BST")
    assert page.fields[0].value == "2026-07-02T00:30:00.000"
    assert parse_qs(urlsplit(page.moments[0].url).query) == {"at": ["2026-07-01T23:30:00Z"]}
    # The hour there is twice is refused, and what says which one it means is not.
    page = staff.get(url, {"at": "2026-10-25T01:30"}).context["page"]
    (refused,) = page.fields[0].errors
    assert "in time zone Europe/London; it may be ambiguous or it may not exist." in refused
    page = staff.get(url, {"at": "2026-10-25T01:30+01:00"}).context["page"]
    assert (page.fields[0].errors, page.heading) == ([], "As of 25 Oct 2026, 01:30:00.000 BST")


@pytest.mark.parametrize("at", ["0001-01-01T00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_a_moment_that_the_zone_cannot_write_is_refused(
    settings: Settings, confirmed: Callable[[str], Order], at: str
) -> None:
    settings.TIME_ZONE = "America/New_York"
    order = confirmed("2026-07-01T23:30")
    answer = allowed("orders.view_order").get(reverse("admin:orders_order_as_of", args=[order.pk]), {"at": at})
    assert answer.context["page"].fields[0].errors == ["A date and a time are needed, such as 2026-11-25 14:30."]


def test_beat_keeps_utc_whose_clock_never_changes() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import shop.celery as s; print(s.app.timezone, s.app.conf.timezone)"],
        env={**os.environ, "TIME_ZONE": "Europe/London", "DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["UTC", "UTC"]
