"""Money on PostgreSQL: taken once, given back once."""

from collections.abc import Callable
from functools import partial

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from payments import selectors
from payments.errors import (
    CardDeclined,
    NoAnswer,
    PaidAlready,
    PaymentCancelled,
    ProviderBusy,
    UnknownPaymentMethod,
)
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from sagas.core.errors import OutcomeUnknown, TransactionRefusedError
from sagas.models import Event
from tests.asking import emitted
from tests.concurrency import at_once
from tests.constraints import named
from tests.factories.credit import CreditHoldFactory
from tests.factories.payments import FakeChargeFactory, PaymentFactory

from .conftest import LATER, NOW, ORDER, OTHER, books, capture, find, hold, kept_back, refund, stored

# capture ----------------------------------------------------------------------------------------------------------


def test_a_card_is_charged_once_for_an_order(transactional_db: None) -> None:
    payment = capture()
    assert capture(now=LATER) == payment
    payment = Payment.objects.get()
    assert (payment.order_id, payment.status, payment.amount_minor, payment.currency) == (
        ORDER,
        "captured",
        2000,
        "GBP",
    )
    assert (payment.method, payment.made_at, payment.refunded_at) == ("tok_visa", NOW, None)
    assert payment.provider_reference == f"fake_{FakeCharge.objects.get().pk}"
    event = Event.objects.get()
    assert (event.type, event.subject, event.key) == ("payments.payment_captured", str(payment.id), str(ORDER))
    assert event.data == {
        "payment_id": str(payment.id),
        "order_id": str(ORDER),
        "amount_minor": 2000,
        "currency": "GBP",
        "method": "tok_visa",
        "provider_reference": payment.provider_reference,
    }
    assert [status for status, _ in books()] == ["charged"]


def test_a_declined_card_is_noted_once_and_stays_declined(transactional_db: None) -> None:
    for _ in range(2):
        with pytest.raises(CardDeclined) as refused:
            capture("tok_chargeDeclined")
        assert str(refused.value) == refused.value.reason == "Your card was declined."
    payment = Payment.objects.get()
    assert (payment.status, payment.reason, payment.provider_reference) == (
        "declined",
        "Your card was declined.",
        "",
    )
    assert emitted("payments") == ["payment_declined"]
    assert Event.objects.get().data["reason"] == "Your card was declined."


def test_after_a_declined_card_another_one_is_charged(transactional_db: None) -> None:
    with pytest.raises(CardDeclined):
        capture("tok_chargeDeclined", key="first")
    capture(key="second")
    assert stored() == [("first", "declined"), ("second", "captured")]


def test_an_order_that_is_paid_is_not_charged_under_another_key(transactional_db: None) -> None:
    capture(key="first")
    with pytest.raises(PaidAlready) as refused:
        capture(key="second")
    assert str(refused.value) == "This order is paid already."
    assert refused.value.order_id == ORDER
    assert (stored(), emitted("payments"), books()) == ([("first", "captured")], ["payment_captured"], [("charged", 1)])


@pytest.mark.parametrize(
    ("method", "error", "message", "in_the_books"),
    [
        ("tok_flaky", ProviderBusy, "The payment provider is busy (503).", [("new", 1)]),
        ("tok_down", NoAnswer, "The payment provider did not answer within 0.05 s.", [("new", 1)]),
        ("tok_lostReply", NoAnswer, "The payment provider did not answer within 0.05 s.", [("charged", 1)]),
        ("cheque", UnknownPaymentMethod, "There is no payment method 'cheque'.", []),
    ],
)
def test_a_payment_that_did_not_come_about_is_not_noted(
    transactional_db: None, method: str, error: type[Exception], message: str, in_the_books: list[tuple[str, int]]
) -> None:
    with pytest.raises(error) as raised:
        capture(method)
    assert str(raised.value) == message
    assert (stored(), emitted("payments"), books()) == ([], [], in_the_books)


def test_many_captures_of_one_key_at_once_are_one_payment(transactional_db: None) -> None:
    assert at_once(*[capture] * 5) == [Payment.objects.get()] * 5
    assert (emitted("payments"), books()) == (["payment_captured"], [("charged", 5)])


def test_of_captures_under_two_keys_at_once_one_stands_and_the_other_is_found_and_refunded(
    transactional_db: None,
) -> None:
    keys = ["a", "b"]
    outcomes = dict(zip(keys, at_once(*[partial(capture, key=key) for key in keys]), strict=True))
    ((paid, _),) = stored()
    (other,) = set(keys) - {paid}
    assert isinstance(outcomes[other], OutcomeUnknown | PaidAlready)
    if isinstance(outcomes[other], OutcomeUnknown):
        with pytest.raises(PaidAlready):
            find(key=other)
    assert [status for status, _ in books()].count("charged") == 1


@pytest.mark.parametrize("call", [capture, find, refund])
def test_the_provider_is_never_called_inside_a_transaction(transactional_db: None, call: Callable[[], object]) -> None:
    with transaction.atomic(), pytest.raises(TransactionRefusedError) as refused:
        call()
    assert str(refused.value) == "a payment provider is never called inside a transaction"
    assert (stored(), emitted("payments"), books()) == ([], [], [])


# find_capture -----------------------------------------------------------------------------------------------------


def test_a_payment_whose_answer_got_lost_is_found_and_noted_once(transactional_db: None) -> None:
    with pytest.raises(NoAnswer):
        capture("tok_lostReply")
    found = find("tok_lostReply")
    assert found is not None
    assert (found.status, found.amount_minor, found.made_at) == ("captured", 2000, LATER)
    assert find("tok_lostReply") == capture("tok_lostReply") == found
    assert (emitted("payments"), stored()) == (["payment_captured"], [("k", "captured")])


def test_where_nothing_was_charged_nothing_is_found(transactional_db: None) -> None:
    assert find() is None
    with pytest.raises(NoAnswer):
        capture("tok_down")
    assert find("tok_down") is None
    assert (stored(), emitted("payments")) == ([], [])


def test_a_declined_card_is_found_declined(transactional_db: None) -> None:
    with pytest.raises(CardDeclined):
        capture("tok_chargeDeclined")
    with pytest.raises(CardDeclined):
        find("tok_chargeDeclined")
    assert (emitted("payments"), stored()) == (["payment_declined"], [("k", "declined")])


def test_a_charge_found_after_the_order_was_paid_under_another_key_is_refunded(transactional_db: None) -> None:
    with pytest.raises(NoAnswer):
        capture("tok_lostReply", key="b")
    capture(key="a")
    for _ in range(2):  # its process may die before it has saved the outcome
        with pytest.raises(PaidAlready):
            find("tok_lostReply", key="b")
    assert sorted(stored()) == [("a", "captured"), ("b", "refunded")]
    assert sorted(status for status, _ in books()) == ["charged", "refunded"]
    assert emitted("payments") == ["payment_captured", "payment_captured", "payment_refunded"]


@pytest.mark.parametrize("is_written", [False, True])
def test_a_charge_that_the_provider_has_refunded_is_no_payment(transactional_db: None, is_written: bool) -> None:
    """It was refunded at the provider's own pages, before or after it was written down."""
    with pytest.raises(NoAnswer):
        capture("tok_lostReply")
    if is_written:
        find("tok_lostReply")
    FakeCharge.objects.update(status="refunded")
    for _ in range(2):
        with pytest.raises(PaymentCancelled):
            find("tok_lostReply")
    assert (stored(), emitted("payments")) == ([("k", "refunded")], ["payment_captured", "payment_refunded"])


# refund -----------------------------------------------------------------------------------------------------------


def test_what_was_charged_is_given_back_once(transactional_db: None) -> None:
    payment = capture()
    for _ in range(2):
        assert refund() == payment
    payment.refresh_from_db()
    assert (payment.status, payment.refunded_at) == ("refunded", LATER)
    assert emitted("payments") == ["payment_captured", "payment_refunded"]
    assert Event.objects.latest("position").data == {
        "payment_id": str(payment.id),
        "order_id": str(ORDER),
        "amount_minor": 2000,
        "currency": "GBP",
    }
    assert books() == [("refunded", 1)]


def test_a_payment_nobody_heard_of_is_noted_when_it_is_given_back(transactional_db: None) -> None:
    with pytest.raises(NoAnswer):
        capture("tok_lostReply")
    refund("tok_lostReply")
    assert (stored(), emitted("payments")) == ([("k", "refunded")], ["payment_captured", "payment_refunded"])


@pytest.mark.parametrize("method", ["tok_visa", "tok_down", "tok_flaky"])
def test_a_refund_that_comes_first_leaves_no_charge_hanging(transactional_db: None, method: str) -> None:
    if method != "tok_visa":
        with pytest.raises((NoAnswer, ProviderBusy)):
            capture(method)
    assert refund(method) is None
    with pytest.raises(PaymentCancelled) as refused:
        capture(method)
    assert (str(refused.value), refused.value.key) == ("The payment was cancelled.", "k")
    assert (stored(), emitted("payments")) == ([], [])
    assert [status for status, _ in books()] == ["cancelled"]


def test_a_decline_whose_answer_was_lost_is_noted_when_it_is_found(transactional_db: None) -> None:
    FakeChargeFactory.create(key="k", status="declined")
    with pytest.raises(CardDeclined):
        find()
    assert (emitted("payments"), stored()) == (["payment_declined"], [("k", "declined")])


def test_a_refund_of_a_declined_card_gives_nothing_back(transactional_db: None) -> None:
    with pytest.raises(CardDeclined):
        capture("tok_chargeDeclined")
    assert refund("tok_chargeDeclined") is None
    assert (stored(), emitted("payments")) == ([("k", "declined")], ["payment_declined"])


def test_a_refunded_order_can_be_paid_again_under_another_key_only(transactional_db: None) -> None:
    capture(key="first")
    refund(key="first")
    with pytest.raises(PaymentCancelled):
        capture(key="first")
    capture(key="second")
    assert stored() == [("first", "refunded"), ("second", "captured")]


def test_many_refunds_at_once_give_back_once(transactional_db: None) -> None:
    capture()
    assert at_once(*[refund] * 5) == [Payment.objects.get()] * 5
    assert emitted("payments") == ["payment_captured", "payment_refunded"]


def test_of_a_charge_and_its_refund_at_once_nothing_stays_charged(transactional_db: None) -> None:
    at_once(capture, refund)
    refund()  # as the undo of a run that saw neither
    assert {status for _, status in stored()} <= {"refunded"}
    assert {status for status, _ in books()} <= {"refunded", "cancelled"}


# Selectors --------------------------------------------------------------------------------------------------------


def test_every_way_to_pay_is_named() -> None:
    assert selectors.methods() == (
        "tok_visa",
        "tok_chargeDeclined",
        "tok_flaky",
        "tok_lostReply",
        "tok_down",
        "invoice",
    )


def test_questions_about_money_are_answered(committed_account: CreditAccount) -> None:
    with pytest.raises(CardDeclined):
        capture("tok_chargeDeclined", key="first")
    capture(key="second", now=LATER)
    capture(key="third", order_id=OTHER)
    assert [payment.key for payment in selectors.payments(ORDER)] == ["first", "second"]
    assert selectors.credit_hold(ORDER) is None
    kept = hold()
    assert selectors.credit_hold(ORDER) == kept


# What the database itself refuses ---------------------------------------------------------------------------------


VIOLATIONS: dict[str, Callable[[CreditAccount], object]] = {
    "payments_one_capture_per_order": lambda _: PaymentFactory.create(order_id=ORDER),
    "payments_amount_is_positive": lambda _: PaymentFactory.create(amount_minor=0),
    "payments_status_is_known": lambda _: PaymentFactory.create(status="lost"),
    "payments_one_payment_per_key": lambda _: PaymentFactory.create(key="k"),
    "payments_credit_in_limit": lambda _: CreditAccount.objects.update(held_minor=F("limit_minor") + 1),
    "payments_credit_email_is_in_small_letters": lambda _: CreditAccount.objects.update(customer_email="A@example.com"),
    "payments_credit_currency_is_in_capitals": lambda _: CreditAccount.objects.update(currency="gbp"),
    "payments_creditaccount_customer_email": lambda _: CreditAccount.objects.create(
        customer_email="ada@example.com", currency="EUR", limit_minor=1
    ),
    "payments_one_live_hold_per_order": lambda account: CreditHoldFactory.create(order_id=ORDER, account=account),
    "payments_one_hold_per_key": lambda account: [
        CreditHoldFactory.create(key="k", account=account, status="released") for _ in "ab"
    ],
    "payments_hold_status_is_known": lambda _: CreditHold.objects.update(status="lost"),
    "payments_one_charge_per_key": lambda _: [FakeChargeFactory.create(key="k") for _ in "ab"],
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_database_refuses(account: CreditAccount, name: str) -> None:
    PaymentFactory.create(order_id=ORDER, key="k")
    hold()
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        VIOLATIONS[name](account)
    assert (stored(), kept_back(), CreditHold.objects.count()) == ([("k", "captured")], 2000, 1)


def test_every_rule_of_the_tables_is_tried() -> None:
    assert named("payments") - set(VIOLATIONS) == set()
