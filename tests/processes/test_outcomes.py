"""What becomes of an order is the same whoever coordinates it: the saga, or the contexts among themselves."""

from collections.abc import Callable, Collection, Iterator
from typing import Any
from uuid import UUID

import pytest

from inventory import services as inventory
from inventory.models import Parcel, Reservation, StockItem
from notifications.models import Notification
from orders import services as orders
from orders.models import Order
from payments import services as payments
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from sagas.core import registry
from sagas.core.errors import Rejected, Retryable
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Run
from sagas.testing import MovableClock, drive
from shop.story.standing import standing
from shop.story.timeline import timeline
from shop.wiring import SAGAS, wiring
from tests.factories.credit import CreditAccountFactory
from tests.factories.orders import Place

pytestmark = pytest.mark.usefixtures("longest_pauses")


@pytest.fixture(params=["saga", "choreography"])
def coordination(request: pytest.FixtureRequest) -> Iterator[str]:
    with registry.current().rewired(wiring(request.param), sagas=SAGAS).active():
        yield request.param


@pytest.fixture
def settle(coordination: str, clock: MovableClock) -> Callable[[], None]:
    """Do all there is to do, for ten minutes."""

    def settle() -> None:
        for _ in range(10):
            drive(now=clock)
            clock.move(minutes=1)

    return settle


def outcome(order: Order) -> dict[str, Any]:
    """Return all that staff, customer, shelf and bank see of an order."""
    order.refresh_from_db()
    item = StockItem.objects.get(sku="MUG")
    return {
        "order": (order.status, order.reason),
        "shelf": (item.on_hand, item.reserved),
        "held": sorted(Reservation.objects.filter(order_id=order.id).values_list("status", flat=True)),
        "parcels": Parcel.objects.filter(order_id=order.id).count(),
        "payments": sorted(Payment.objects.filter(order_id=order.id).values_list("status", "amount_minor")),
        "charges": sorted(FakeCharge.objects.values_list("status", flat=True)),
        "credit": sorted(CreditHold.objects.filter(order_id=order.id).values_list("status", flat=True)),
        "told": list(Notification.objects.filter(order_id=order.id).values_list("kind", "status")),
    }


OUR_SIDE = "Something on our side did not work; please try again later."
REFUSED = {"shelf": (100, 0), "parcels": 0, "credit": [], "told": [("order_rejected", "sent")]}
CONFIRMED = {
    "order": ("confirmed", ""),
    "shelf": (98, 0),
    "held": ["shipped"],
    "parcels": 1,
    "payments": [("captured", 2000)],
    "charges": ["charged"],
    "credit": [],
    "told": [("order_confirmed", "sent")],
}


@pytest.mark.parametrize("method", ["tok_visa", "tok_flaky", "tok_lostReply"])
def test_an_order_that_is_paid_by_card_is_shipped_and_charged_once(
    place: Place, settle: Callable[[], None], clock: MovableClock, method: str
) -> None:
    order = place(method, now=clock())
    settle()
    assert outcome(order) == CONFIRMED
    told = Notification.objects.get(order_id=order.id)
    assert told.context["tracking_number"] == Parcel.objects.get().tracking_number


def test_an_order_by_invoice_keeps_credit_back(place: Place, settle: Callable[[], None], clock: MovableClock) -> None:
    CreditAccountFactory.create(limit_minor=5000)
    order = place("invoice", now=clock())
    settle()
    assert outcome(order) == CONFIRMED | {"payments": [], "charges": [], "credit": ["held"]}


def test_too_little_stock_rejects(place: Place, settle: Callable[[], None], clock: MovableClock) -> None:
    order = place(lines=(("MUG", 101),), now=clock())
    settle()
    reason = "Only 100 of Mug (MUG) are left, and you asked for 101."
    assert outcome(order) == REFUSED | {"order": ("rejected", reason), "held": [], "payments": [], "charges": []}


def test_a_declined_card_releases_the_stock(place: Place, settle: Callable[[], None], clock: MovableClock) -> None:
    order = place("tok_chargeDeclined", now=clock())
    settle()
    assert outcome(order) == REFUSED | {
        "order": ("rejected", "Your card was declined."),
        "held": ["released"],
        "payments": [("declined", 2000)],
        "charges": ["declined"],
    }


def test_a_provider_that_never_answers_is_given_up_and_its_key_spent(
    place: Place, settle: Callable[[], None], clock: MovableClock
) -> None:
    order = place("tok_down", now=clock())
    settle()
    assert outcome(order) == REFUSED | {
        "order": ("rejected", OUR_SIDE),
        "held": ["released"],
        "payments": [],
        "charges": ["cancelled"],
    }


@pytest.mark.parametrize(
    ("limit_minor", "reason"),
    [
        (1999, "The order costs £20.00, and your credit has £19.99 left."),
        (None, "You have no credit account with us; please pay by card instead."),
    ],
)
def test_a_credit_check_that_fails_releases_the_stock(
    place: Place, settle: Callable[[], None], clock: MovableClock, limit_minor: int | None, reason: str
) -> None:
    if limit_minor is not None:
        CreditAccountFactory.create(limit_minor=limit_minor)
    order = place("invoice", now=clock())
    settle()
    assert outcome(order) == REFUSED | {
        "order": ("rejected", reason),
        "held": ["released"],
        "payments": [],
        "charges": [],
    }
    assert sum(account.held_minor for account in CreditAccount.objects.all()) == 0


@pytest.mark.parametrize("method", ["tok_visa", "invoice"])
def test_a_refusal_at_the_pivot_gives_everything_back(
    place: Place,
    settle: Callable[[], None],
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    CreditAccountFactory.create(limit_minor=5000)

    def no_van(order_ids: Collection[UUID], **_: Any) -> dict[UUID, Rejected]:
        return {order_id: Rejected("There is no van today.") for order_id in order_ids}

    monkeypatch.setattr(inventory, "book_shipments", no_van)
    order = place(method, now=clock())
    settle()
    card = method == "tok_visa"
    assert outcome(order) == REFUSED | {
        "order": ("rejected", "There is no van today."),
        "held": ["released"],
        "payments": [("refunded", 2000)] if card else [],
        "charges": ["refunded"] if card else [],
        "credit": [] if card else ["released"],
    }
    context = Notification.objects.get().context
    assert (context.get("refunded"), context.get("kept")) == ("£20.00" if card else None, None)


def test_a_batch_of_orders_comes_out_as_they_would_alone(
    place: Place, settle: Callable[[], None], clock: MovableClock
) -> None:
    methods = ["tok_visa", "tok_chargeDeclined", "tok_visa", "tok_flaky", "invoice", "tok_visa"]
    placed = [place(method, now=clock()) for method in methods]
    settle()
    found = [outcome(order)["order"][0] for order in placed]
    assert found == ["confirmed", "rejected", "confirmed", "confirmed", "rejected", "confirmed"]
    assert StockItem.objects.get(sku="MUG").on_hand == 92
    assert FakeCharge.objects.filter(status="charged").count() == 4


# What only the choreography has to prove -----------------------------------------------------------------------------


def test_nobody_conducts(place: Place, choreography: None) -> None:
    order = place()
    drive()
    assert not Run.objects.exists()
    assert set(Delivery.objects.filter(key=order.id).values_list("subscription", "status")) == {
        (name, "done")
        for name in (
            "start-fulfil-order",
            "then-hold-credit",
            "then-capture-payment",
            "then-book-shipment",
            "then-confirm-order",
            "then-notify-customer",
            "send-notification",
        )
    }
    assert {str(event.correlation_id) for event in Event.objects.filter(key=order.id)} == {
        str(Event.objects.earliest("position").correlation_id)
    }


def test_orders_of_the_saga_are_left_alone_when_the_setting_changes_under_them(
    place: Place, clock: MovableClock
) -> None:
    with registry.current().rewired(wiring("saga"), sagas=SAGAS).active():
        conducted = place("tok_flaky", now=clock())
        drive(now=clock)
        assert Run.objects.get().status == "running"
    with registry.current().rewired(wiring("choreography", "saga"), sagas=SAGAS).active():
        among_themselves = place(now=clock())
        for _ in range(10):
            drive(now=clock)
            clock.move(minutes=1)
    assert Run.objects.get().status == "completed"
    assert {outcome(order)["order"][0] for order in (conducted, among_themselves)} == {"confirmed"}
    assert list(FakeCharge.objects.values_list("status", flat=True)) == ["charged", "charged"]


def test_orders_of_the_choreography_are_finished_when_the_setting_changes_back(
    place: Place, clock: MovableClock
) -> None:
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        first = place("tok_flaky", now=clock())
        drive(now=clock)
    with registry.current().rewired(wiring("saga", "choreography"), sagas=SAGAS).active():
        second = place(now=clock())
        for _ in range(10):
            drive(now=clock)
            clock.move(minutes=1)
    assert {outcome(order)["order"][0] for order in (first, second)} == {"confirmed"}
    assert list(Run.objects.values_list("key", flat=True)) == [str(second.id)]
    assert sorted(FakeCharge.objects.values_list("status", flat=True)) == ["charged", "charged"]


def test_the_page_of_a_choreographed_order_says_where_it_stands_and_why(
    place: Place, clock: MovableClock, choreography: None
) -> None:
    said = []
    order = place("tok_flaky", now=clock())
    said.append(standing(order.id, now=clock()).sentence)
    relay_events(now=clock(), limit=500)
    said.append(standing(order.id, now=clock()).sentence)
    clock.move(minutes=1)
    drive(now=clock)
    said.append(standing(order.id, now=clock()).sentence)
    assert standing(order.id, now=clock()).live
    for _ in range(5):
        clock.move(minutes=1)
        drive(now=clock)
    said.append(standing(order.id, now=clock()).sentence)
    assert not standing(order.id, now=clock()).live
    declined = place("tok_chargeDeclined", now=clock())
    drive(now=clock)
    said.append(standing(declined.id, now=clock()).sentence)
    assert said == [
        "The order is saved; its process starts in a moment.",
        "“Reserve stock” is next.",
        "“Capture payment” failed once: The payment provider is busy (503). It will be tried again.",
        "Everything is done.",
        "It could not be fulfilled: Your card was declined. All that had been done for it is undone.",
    ]
    assert ("Capture payment", "failed") in {(entry.title, entry.status) for entry in timeline(declined.id)}


def test_money_that_cannot_be_given_back_waits_for_a_person_before_the_customer_is_told(
    place: Place, clock: MovableClock, choreography: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise Retryable("busy")

    monkeypatch.setattr(payments, "refund", busy)
    order = place("tok_chargeDeclined", now=clock())
    for _ in range(40):
        drive(now=clock)
        clock.move(minutes=15)
    assert outcome(order)["order"] == ("pending", "")
    assert outcome(order)["told"] == []
    parked = Delivery.objects.get(status="parked")
    assert (parked.subscription, parked.key) == ("then-release-payment", str(order.id))


def test_an_order_that_was_cancelled_by_hand_meanwhile_comes_in_front_of_a_person(
    place: Place, clock: MovableClock, choreography: None
) -> None:
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    orders.cancel(order_id=order.id, reason="Ordered twice.", now=clock())
    for _ in range(20):
        drive(now=clock)
        clock.move(minutes=15)
    assert Delivery.objects.get(status="parked").subscription == "then-confirm-order"
