"""What happens to an order, step by step: given a payment method, expect these steps in this order."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from pytest_django import Settings

from inventory.models import Reservation, StockItem
from notifications.models import Notification
from orders.models import Order
from payments.credit import open_credit
from payments.gateway import Charge, ChargeOrder, gateway
from payments.gateways.fake import FakeGateway
from payments.models import CreditAccount, FakeCharge, Payment
from sagas.core.statuses import Action
from sagas.models import Attempt, Event, Run
from sagas.operations import interventions
from sagas.testing import Broker, MovableClock, drive
from tests.asking import decided, messages, steps, stock
from tests.factories.orders import Place

pytestmark = pytest.mark.usefixtures("longest_pauses")


class Recorded(FakeGateway):
    """The fake provider, with a list of the calls it got."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def charge_many(self, orders: Sequence[ChargeOrder]) -> dict[str, Charge | Exception]:
        self.calls.append(f"charge {len(orders)}")
        return super().charge_many(orders)

    def find(self, *, key: str) -> Charge | None:
        self.calls.append("find")
        return super().find(key=key)

    def refund(self, *, key: str) -> Charge | None:
        self.calls.append("refund")
        return super().refund(key=key)


@pytest.fixture
def calls(settings: Settings) -> Iterator[list[str]]:
    """Return the calls of the provider, as they come."""
    settings.PAYMENTS_GATEWAY = f"{__name__}.Recorded"
    calls: list[str] = gateway().calls  # type: ignore[attr-defined]
    yield calls
    calls.clear()  # one provider serves all tests of a process


def sent() -> list[str]:
    """Do all work that is due; return the names of the messages that it took."""
    broker, names = Broker(), []
    while broker.relay():
        while broker.waiting:
            names.append(str(broker.waiting[0]))
            broker.deliver(broker.waiting[0])
    return names


def test_a_good_card_goes_straight_through(place: Place) -> None:
    order = place("tok_visa")
    drive()
    assert steps(order) == [
        ("reserve-stock", "done"),
        ("hold-credit", "skipped"),
        ("capture-payment", "done"),
        ("book-shipment", "done"),
        ("confirm-order", "done"),
        ("notify-customer", "done"),
    ]
    assert decided(order) == ("confirmed", "")
    assert stock("MUG") == (98, 0)
    assert list(Payment.objects.values_list("status", "amount_minor")) == [("captured", 2000)]
    assert messages(order) == ["order_confirmed"]
    assert Run.objects.get(key=order.id).status == "completed"


def test_too_little_stock_rejects_before_anything_is_charged(place: Place) -> None:
    order = place(lines=(("MUG", 2), ("LAMP", 101)))
    drive()
    assert steps(order) == [
        ("reserve-stock", "failed"),
        ("hold-credit", "skipped"),
        ("capture-payment", "skipped"),
        ("book-shipment", "skipped"),
        ("confirm-order", "skipped"),
        ("notify-customer", "skipped"),
        ("close-order", "done"),
        ("tell-customer", "done"),
    ]
    assert decided(order) == ("rejected", "Only 100 of Lamp (LAMP) are left, and you asked for 101.")
    assert stock("MUG") == (100, 0)
    assert stock("LAMP") == (100, 0)
    assert not Reservation.objects.exists()
    assert not FakeCharge.objects.exists()
    assert messages(order) == ["order_rejected"]


def test_a_product_that_is_sold_out_is_called_by_its_name(place: Place) -> None:
    StockItem.objects.filter(sku="LAMP").update(on_hand=0)
    order = place(lines=(("LAMP", 2),))
    drive()
    assert decided(order) == ("rejected", "Lamp (LAMP) is sold out.")
    assert Notification.objects.get().context["reason"] == "Lamp (LAMP) is sold out."


def test_a_declined_card_releases_the_stock(place: Place) -> None:
    order = place("tok_chargeDeclined")
    drive()
    assert steps(order) == [
        ("reserve-stock", "undone"),
        ("hold-credit", "skipped"),
        ("capture-payment", "failed"),
        ("book-shipment", "skipped"),
        ("confirm-order", "skipped"),
        ("notify-customer", "skipped"),
        ("release-stock", "done"),
        ("close-order", "done"),
        ("tell-customer", "done"),
    ]
    assert decided(order) == ("rejected", "Your card was declined.")
    assert stock("MUG") == (100, 0)
    assert list(Payment.objects.values_list("status", flat=True)) == ["declined"]
    assert messages(order) == ["order_rejected"]
    assert {"refunded", "kept"} & Notification.objects.get().context.keys() == set()
    assert Run.objects.get(key=order.id).status == "undone"


def test_a_flaky_provider_is_tried_again_later_and_charged_once(place: Place) -> None:
    clock = MovableClock()
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    assert decided(order) == ("pending", "")
    for _ in range(2):
        clock.move(seconds=60)
        drive(now=clock)
    assert decided(order) == ("confirmed", "")
    assert list(Attempt.objects.order_by("number").values_list("number", "kind", "error")) == [
        (1, "retryable", "ProviderBusy"),
        (2, "retryable", "ProviderBusy"),
    ]
    assert list(FakeCharge.objects.values_list("status", "calls")) == [("charged", 3)]


def test_a_lost_answer_is_asked_for_and_not_charged_again(place: Place) -> None:
    clock = MovableClock()
    order = place("tok_lostReply", now=clock())
    drive(now=clock)
    assert ("capture-payment", "unknown") in steps(order)
    clock.move(seconds=60)
    drive(now=clock)
    assert decided(order) == ("confirmed", "")
    assert list(FakeCharge.objects.values_list("status", "calls")) == [("charged", 1)]
    assert Payment.objects.count() == 1


def test_a_provider_that_never_answers_is_given_up_and_the_order_undone(place: Place) -> None:
    clock = MovableClock()
    order = place("tok_down", now=clock())
    for _ in range(6):
        drive(now=clock)
        clock.move(seconds=60)
    assert decided(order) == ("rejected", "Something on our side did not work; please try again later.")
    assert ("capture-payment", "undone") in steps(order)
    assert ("refund", "done") in steps(order)
    assert Attempt.objects.filter(kind="unknown").count() == 5
    assert FakeCharge.objects.get().status == "cancelled"
    assert stock("MUG") == (100, 0)
    assert messages(order) == ["order_rejected"]


def test_an_invoice_holds_credit_and_charges_no_card(place: Place) -> None:
    open_credit(customer_email="ada@example.com", limit_minor=5000, currency="GBP")
    order = place("invoice")
    drive()
    assert decided(order) == ("confirmed", "")
    assert ("capture-payment", "skipped") in steps(order)
    assert CreditAccount.objects.get().held_minor == 2000
    assert not FakeCharge.objects.exists()


@pytest.mark.parametrize(
    ("limit_minor", "reason"),
    [
        (1999, "The order costs £20.00, and your credit has £19.99 left."),
        (None, "You have no credit account with us; please pay by card instead."),
    ],
)
def test_too_little_credit_releases_the_stock(place: Place, limit_minor: int | None, reason: str) -> None:
    if limit_minor is not None:
        open_credit(customer_email="ada@example.com", limit_minor=limit_minor, currency="GBP")
    order = place("invoice")
    drive()
    assert decided(order) == ("rejected", reason)
    assert stock("MUG") == (100, 0)
    assert sum(account.held_minor for account in CreditAccount.objects.all()) == 0


def test_an_order_that_is_not_done_in_a_day_is_undone(place: Place) -> None:
    clock = MovableClock()
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    Run.objects.update(due_at=clock() + timedelta(days=9))
    clock.move(hours=24, seconds=1)
    drive(now=clock)
    assert decided(order)[0] == "rejected"
    assert stock("MUG") == (100, 0)
    assert FakeCharge.objects.get().status in ("new", "cancelled")


def call_off(order: Order, clock: MovableClock, action: Action) -> None:
    run = Run.objects.get(key=order.id)
    batch = interventions.ask([run], action, reason="Ada changed her mind.", by="grace", now=clock())
    assert interventions.work(now=clock(), batch=batch).done == 1
    clock.move(minutes=1)
    drive(now=clock)


def test_an_order_that_is_called_off_is_cancelled_and_undone_and_the_customer_reads_why(place: Place) -> None:
    clock = MovableClock()
    order = place("tok_lostReply", now=clock())
    drive(now=clock)
    assert list(FakeCharge.objects.values_list("status", flat=True)) == ["charged"]
    call_off(order, clock, Action.CANCEL)
    assert steps(order)[-4:] == [
        ("refund", "done"),
        ("release-stock", "done"),
        ("close-order", "done"),
        ("tell-customer", "done"),
    ]
    assert decided(order) == ("cancelled", "Ada changed her mind.")
    assert list(FakeCharge.objects.values_list("status", flat=True)) == ["refunded"]
    assert stock("MUG") == (100, 0)
    assert messages(order) == ["order_cancelled"]
    context = Notification.objects.get().context
    assert (context["reason"], context["refunded"]) == ("Ada changed her mind.", "£20.00")
    said = Event.objects.get(type="orders.order_cancelled")
    assert (said.version, said.data["reason"]) == (1, "Ada changed her mind.")
    assert not Event.objects.filter(type="orders.order_rejected").exists()


def test_an_order_that_is_undone_by_hand_is_rejected_in_the_words_of_the_shop(place: Place) -> None:
    clock = MovableClock()
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    call_off(order, clock, Action.UNDO)
    assert decided(order) == ("rejected", "We could not carry out your order.")
    assert messages(order) == ["order_rejected"]


def test_a_batch_rejects_the_orders_that_stock_does_not_reach_for(place: Place, settings: Settings) -> None:
    settings.SAGAS_BATCH_SIZE = 50
    orders = [place(lines=(("LAMP", 30),)) for _ in range(5)]
    drive()
    # 100 lamps are enough for three of five; who they are is the order of their ids.
    assert [decided(order)[0] for order in orders] == ["confirmed"] * 3 + ["rejected"] * 2
    assert stock("LAMP") == (10, 0)
    assert Attempt.objects.filter(error="OutOfStock").count() == 2


def test_a_declined_card_in_a_batch_costs_no_second_message_and_no_second_call(
    place: Place, calls: list[str], settings: Settings
) -> None:
    settings.SAGAS_BATCH_SIZE = 50
    for _ in range(3):
        place()
    without = sent()
    assert calls == ["charge 3"]
    good, declined, other = place(), place("tok_chargeDeclined"), place()
    messages_sent = sent()
    assert [decided(order)[0] for order in (good, declined, other)] == ["confirmed", "rejected", "confirmed"]
    assert calls == ["charge 3", "charge 3"]
    assert set(FakeCharge.objects.values_list("calls", flat=True)) == {1}
    assert list(Attempt.objects.values_list("step__run__key", "step__name", "kind")) == [
        (str(declined.id), "capture-payment", "rejected")
    ]
    undo = ["inventory.release_stock", "orders.close_order", "notifications.tell_customer"]
    assert Counter(messages_sent) == Counter(without + undo)
