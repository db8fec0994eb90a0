"""The history of an order, and its page: what it was at a moment, and what changed between two."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from inventory.history import GOODS, GoodsState, Pieces
from inventory.models import Parcel, Reservation
from notifications.history import NOTIFICATIONS, MessageState
from notifications.models import Notification
from orders.events import Line
from orders.history import ORDER, OrderState
from orders.models import Order, OrderLine
from payments.history import MONEY, CreditState, PaymentState
from payments.models import CreditHold, Payment
from sagas.core import registry
from sagas.core.events import known_events
from sagas.models import Event
from sagas.testing import drive
from shop.story.history import OrderAsOf, history
from shop.wiring import SAGAS, wiring
from tests.factories.journal import EventFactory
from tests.factories.orders import Place
from tests.factories.people import allowed
from tests.rows import rows_of
from tests.ticking import TickingClock

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def staff(shelves: None) -> Client:
    return allowed("orders.view_order")


@pytest.fixture
def driven(place: Place) -> Callable[..., Order]:
    def driven(method: str = "tok_visa", **more: Any) -> Order:
        clock = TickingClock(tick=timedelta(milliseconds=10, microseconds=123))
        clock.time = NOON
        order = place(method, now=clock(), **more)
        drive(now=clock)
        return order

    return driven


def url(order: Order) -> str:
    return reverse("admin:orders_order_as_of", args=[order.pk])


def shown(client: Client, order: Order, **asked: str) -> Any:
    response = client.get(url(order), asked)
    assert response.status_code == 200
    return response.context["page"]


def when(order: Order, event: str) -> str:
    """Return the moment of an event, as the page's own links name it."""
    at = Event.objects.get(key=str(order.id), type__endswith=f".{event}").occurred_at
    return f"{at.replace(tzinfo=None).isoformat()}Z"


def changed(page: Any) -> list[tuple[str, str, str]]:
    return [(change.label, change.before, change.after) for change in page.changes]


def errors(page: Any) -> dict[str, list[str]]:
    return {field.name: field.errors for field in page.fields if field.errors}


# The history ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "state", "not_state"),
    [
        # What is not in the events: surrogate keys, references of this database, and what is kept for requests.
        (Order, OrderState, {"id", "idempotency_key", "request_hash"}),
        (OrderLine, Line, {"id", "order", "product"}),
        (Reservation, Pieces, {"id", "order_id", "key"}),
        (Parcel, GoodsState, {"id", "order_id"}),
        (Payment, PaymentState, {"id", "order_id", "key", "method"}),
        (CreditHold, CreditState, {"id", "order_id", "key", "account"}),
        (Notification, MessageState, {"id", "order_id", "recipient", "context"}),
    ],
)
def test_every_column_of_a_row_is_in_the_history_or_named_here(
    model: type[Model], state: type[Any], not_state: set[str]
) -> None:
    columns = {field.name for field in model._meta.fields}
    assert columns - set(state.model_fields) == not_state


def test_every_event_of_an_order_has_a_rule_in_one_fold() -> None:
    ruled = sorted(rule.event.type for fold in (ORDER, GOODS, MONEY, NOTIFICATIONS) for rule in fold.rules)
    contexts = ("orders", "inventory", "payments", "notifications")
    assert ruled == [event.type for event in known_events() if event.type.partition(".")[0] in contexts]


@pytest.mark.parametrize("method", ["tok_visa", "tok_chargeDeclined", "invoice"])
def test_the_history_of_a_choreographed_order_is_its_rows_too(place: Place, method: str) -> None:
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        order = place(method)
        drive()
    told = history(order.id).moments[-1].state
    failed = "" if method == "tok_visa" else told.order.reason
    assert (told.money.failed, told.money.is_released) == (failed, bool(failed))
    money = told.money.model_copy(update={"failed": "", "is_released": False})
    assert OrderAsOf(order=told.order, goods=told.goods, money=money, notifications=told.notifications) == rows_of(
        order.id
    )


def test_a_late_writer_does_not_make_a_state_that_never_was(place: Place) -> None:
    """Written first and happened last, or the other way round: the order of writing decides."""
    order = place(now=NOON)
    _write(order, "payments.payment_captured", NOON + timedelta(seconds=9), amount_minor=2000, method="tok_visa")
    _write(order, "orders.order_cancelled", NOON + timedelta(seconds=4), reason="Ordered twice.")
    told = history(order.id)
    assert [moment.at - NOON for moment in told.moments] == [timedelta(0), timedelta(seconds=9)]
    assert [len(moment.events) for moment in told.moments] == [1, 2]
    assert told.as_of(NOON + timedelta(seconds=8)) == told.as_of(NOON)
    last = told.moments[-1].state.order
    assert (last.status, last.decided_at) == ("cancelled", NOON + timedelta(seconds=4))


@pytest.mark.django_db
def test_an_order_that_nobody_placed_has_no_history() -> None:
    assert history(uuid4()).moments == ()
    assert OrderAsOf() == rows_of(uuid4())


def _write(order: Order, event: str, at: datetime, **data: Any) -> None:
    facts = {"order_id": str(order.id), "number": order.number, "payment_id": str(order.id), "currency": "GBP"}
    data = facts | {"provider_reference": "fake_1"} | data
    EventFactory.create(type=event, aggregate=event, subject=str(order.id), data=data, occurred_at=at)


# The page -------------------------------------------------------------------------------------------------------------


def test_the_page_shows_what_the_order_is_now_and_what_the_last_moment_changed(
    staff: Client, driven: Callable[..., Order]
) -> None:
    order = driven()
    page = shown(staff, order)
    assert (page.heading, page.status, page.note) == ("Now", "Confirmed", "")
    assert page.parts["Goods"][0] == ("MUG", "2 shipped")
    assert page.parts["Money"] == [("Payment", "£20.00 captured"), ("Kept (GBP)", "£20.00")]
    assert page.parts["Messages"] == [("Order confirmed, by email", "sent")]
    assert changed(page) == [("Order confirmed, by email", "queued", "sent")]
    assert [moment.is_shown for moment in page.moments] == [False] * 6 + [True]


def test_an_order_as_of_a_moment_is_what_it_was_then(staff: Client, driven: Callable[..., Order]) -> None:
    order = driven("tok_chargeDeclined")
    page = shown(staff, order, at=when(order, "stock_reserved"))
    assert (page.status, page.parts["Goods"]) == ("Pending", [("MUG", "2 held")])
    assert "Money" not in page.parts
    assert changed(page) == [("MUG", "", "2 held")]
    page = shown(staff, order, at=when(order, "order_rejected"), since=when(order, "stock_reserved"))
    decided = dict(page.parts["Order"])["Decided"]
    assert changed(page) == [
        ("Status", "Pending", "Rejected"),
        ("Reason", "", "Your card was declined."),
        ("Decided", "", decided),
        ("MUG", "2 held", "2 released"),
        ("Payment", "", "£20.00 declined: Your card was declined."),
    ]


def test_a_moment_before_the_order_says_so(staff: Client, driven: Callable[..., Order]) -> None:
    order = driven()
    page = shown(staff, order, at="2026-11-25T11:59:59.999")
    assert page.note == "At this moment there was no such order: it was placed at 25 Nov 2026, 12:00:00.010 UTC."
    assert (page.parts, page.changes, page.status) == ({}, [], "")
    page = shown(staff, order, at=when(order, "order_placed"), since="1970-01-01 00:00")
    assert ("Status", "", "Pending") in changed(page)


def test_a_moment_to_come_shows_what_happened_so_far(staff: Client, driven: Callable[..., Order]) -> None:
    page = shown(staff, driven(), at="9999-12-31T23:59")
    assert page.note == "This moment is still to come; below is what has happened so far."
    assert page.status == "Confirmed"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"at": "yesterday"}, {"at": ["A date and a time are needed, such as 2026-11-25 14:30."]}),
        ({"since": "2026-13-45T99:00"}, {"since": ["A date and a time are needed, such as 2026-11-25 14:30."]}),
        ({"at": "0001-01-01T00:00+14:00"}, {"at": ["A date and a time are needed, such as 2026-11-25 14:30."]}),
        ({"at": "\x00'\"><script>"}, {"at": ["A date and a time are needed, such as 2026-11-25 14:30."]}),
        (
            {"at": "2026-11-25 12:00", "since": "2026-11-25 12:00"},
            {"since": ["This moment has to be the earlier one."]},
        ),
        ({"at": "", "since": ""}, {}),
        ({"at": "2026-11-25T14:00:00+02:00", "since": "2026-11-25T11:00Z"}, {}),
    ],
)
def test_a_moment_that_is_none_is_refused_at_its_field(
    staff: Client, driven: Callable[..., Order], asked: dict[str, str], expected: dict[str, list[str]]
) -> None:
    page = shown(staff, driven(), **asked)
    assert errors(page) == expected
    if expected:
        assert (page.parts, page.changes) == ({}, [])
        assert len(page.moments) == 7
    assert b'<script>"' not in staff.get(url(Order.objects.get()), asked).content


def test_one_walks_through_the_moments_by_links_alone(staff: Client, driven: Callable[..., Order]) -> None:
    order = driven()
    statuses, asked = [], f"?since={when(order, 'stock_reserved')}"
    while asked:
        response = staff.get(url(order) + asked)
        page = response.context["page"]
        assert errors(page) == {}
        statuses.append(next(moment.entries[0].title for moment in page.moments if moment.is_shown))
        asked = page.back_url
    assert statuses == [
        "Notification sent", "Notification queued", "Order confirmed", "Shipment booked", "Payment captured",
        "Stock reserved", "Order placed",
    ]  # fmt: skip
    for moment in page.moments:
        assert [one.is_shown for one in shown_at(staff, order, moment.url).moments] == [
            one is moment for one in page.moments
        ]


def shown_at(client: Client, order: Order, asked: str) -> Any:
    return client.get(url(order) + asked).context["page"]


def test_the_field_of_the_browser_brings_back_the_same_moment(staff: Client, driven: Callable[..., Order]) -> None:
    """Events know microseconds, the field of a browser only milliseconds."""
    order = driven()
    page = shown(staff, order, at=when(order, "payment_captured"))
    (typed,) = [field.value for field in page.fields if field.name == "at"]
    assert re.fullmatch(r"2026-11-25T12:00:00\.\d{3}", typed)
    assert shown(staff, order, at=typed).parts == page.parts


def test_the_page_of_an_order_leads_there(staff: Client, driven: Callable[..., Order]) -> None:
    order = driven()
    content = staff.get(reverse("admin:orders_order_change", args=[order.pk])).content.decode()
    assert f'href="{url(order)}"' in content


def test_only_who_may_see_orders_sees_it(driven: Callable[..., Order]) -> None:
    order = driven()
    assert allowed("orders.add_order").get(url(order)).status_code == 403
    assert Client().get(url(order)).status_code == 302
    client = allowed("orders.view_order")
    assert client.post(url(order)).status_code == 403
    assert client.get(reverse("admin:orders_order_as_of", args=[uuid4()])).status_code == 404


def test_an_order_without_events_says_so(staff: Client, place: Place) -> None:
    order = place()
    Event.objects.filter(key=str(order.id)).delete()
    assert shown(staff, order).note == "No event of this order is kept: its history cannot be told."
    assert shown(staff, order, at="2026-11-25 12:00").parts == {}


def test_an_event_that_cannot_be_read_is_named(staff: Client, place: Place) -> None:
    order = place(now=NOON)
    Event.objects.filter(key=str(order.id)).update(data={"order_id": "?"})
    event = "the event orders.order_placed, version 1, of 2026-11-25 12:00:00 UTC cannot be read"
    assert shown(staff, order).note == f"Its history cannot be told: {event}."


def test_the_page_costs_the_same_for_any_history(staff: Client, driven: Callable[..., Order], place: Place) -> None:
    def queries(order: Order, **asked: str) -> int:
        with CaptureQueriesContext(connection) as made:
            shown(staff, order, **asked)
        return len(made)

    fresh, done = place(now=NOON), driven("tok_chargeDeclined", lines=(("MUG", 1), ("TRAY", 2), ("LAMP", 3)))
    staff.get(url(fresh))
    costs = {
        queries(fresh),
        queries(done),
        queries(done, at=when(done, "order_rejected"), since=when(done, "order_placed")),
    }
    # The session, the user, their permissions (two), the order, its events.
    assert costs == {6}
