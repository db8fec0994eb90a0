"""Money on PostgreSQL: taken once, given back once, credit never past its limit."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments import selectors
from payments import services as payments
from payments.errors import (
    CardDeclined,
    CreditHeldAlready,
    CreditHoldEnded,
    CreditLimitExceeded,
    NoAnswer,
    NoCredit,
    PaidAlready,
    PaymentCancelled,
    ProviderBusy,
    UnknownPaymentMethod,
)
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from sagas.core.errors import TransactionRefusedError
from sagas.models import Event
from tests.asking import emitted
from tests.concurrency import at_once
from tests.constraints import named
from tests.factories.credit import CreditAccountFactory, CreditHoldFactory
from tests.factories.payments import FakeChargeFactory, PaymentFactory, PaymentRequestFactory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ORDER, OTHER = UUID(int=1), UUID(int=2)


def request(method: str, key: str, order_id: UUID = ORDER) -> payments.PaymentRequest:
    return PaymentRequestFactory.build(order_id=order_id, method=method, key=key)


def capture(method: str = "tok_visa", *, key: str = "k", order_id: UUID = ORDER, now: datetime = NOW) -> Payment:
    return payments.capture(request(method, key, order_id), now=now)


def find(method: str = "tok_visa", *, key: str = "k") -> Payment | None:
    return payments.find_capture(request(method, key), now=LATER)


def refund(method: str = "tok_visa", *, key: str = "k") -> Payment | None:
    return payments.refund(request(method, key), now=LATER)


def stored() -> list[tuple[str, str]]:
    return list(Payment.objects.order_by("id").values_list("key", "status"))


def books() -> list[tuple[str, int]]:
    """Return what the provider has done, and how often it was asked to charge."""
    return list(FakeCharge.objects.order_by("id").values_list("status", "calls"))


# capture ---------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("call", [capture, find, refund])
def test_the_provider_is_never_called_inside_a_transaction(transactional_db: None, call: Callable[[], object]) -> None:
    with transaction.atomic(), pytest.raises(TransactionRefusedError) as refused:
        call()
    assert str(refused.value) == "a payment provider is never called inside a transaction"
    assert (stored(), emitted("payments"), books()) == ([], [], [])


# find_capture ----------------------------------------------------------------------------------------------------


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


# refund ----------------------------------------------------------------------------------------------------------


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


# Credit ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def account(db: None) -> CreditAccount:
    return payments.open_credit(customer_email="Ada@Example.com", limit_minor=5000, currency="GBP")


@pytest.fixture
def committed_account(transactional_db: None) -> CreditAccount:
    return CreditAccountFactory.create(limit_minor=5000)


def key_of(order_id: UUID) -> str:
    return f"run of {order_id}:hold-credit"


def hold(amount_minor: int = 2000, *, order_id: UUID = ORDER, now: datetime = NOW, **more: Any) -> CreditHold:
    asked: dict[str, Any] = {"customer_email": "ADA@example.com", "currency": "GBP", "key": key_of(order_id)} | more
    return payments.hold_credit(payments.CreditRequest(order_id=order_id, amount_minor=amount_minor, **asked), now=now)


def release(order_id: UUID = ORDER, *, key: str | None = None) -> None:
    payments.release_credit(order_id=order_id, key=key or key_of(order_id), now=LATER)


def kept_back() -> int:
    return CreditAccount.objects.get().held_minor


def test_an_account_that_stands_is_left_as_it_is(account: CreditAccount) -> None:
    again = payments.open_credit(customer_email="ada@example.COM", limit_minor=1, currency="EUR")
    assert (again, again.limit_minor, again.currency) == (account, 5000, "GBP")


def test_credit_is_kept_back_once_for_an_order(account: CreditAccount) -> None:
    first = hold()
    assert hold(4000, now=LATER) == first
    row = CreditHold.objects.get()
    assert (row.status, row.amount_minor, row.held_at, row.released_at) == ("held", 2000, NOW, None)
    assert (kept_back(), emitted("payments")) == (2000, ["credit_held"])
    assert Event.objects.get().data == {
        "order_id": str(ORDER),
        "customer_email": "ada@example.com",
        "amount_minor": 2000,
        "currency": "GBP",
    }


def test_credit_may_be_used_to_the_last_penny_and_not_one_further(account: CreditAccount) -> None:
    hold(4999)
    with pytest.raises(CreditLimitExceeded) as refused:
        hold(2, order_id=OTHER)
    assert str(refused.value) == "The order costs £0.02, and your credit has £0.01 left."
    assert (refused.value.wanted_minor, refused.value.available_minor) == (2, 1)
    assert (kept_back(), CreditHold.objects.count(), emitted("payments")) == (4999, 1, ["credit_held"])
    hold(1, order_id=OTHER)
    assert kept_back() == 5000


@pytest.mark.parametrize("other", [{"customer_email": "eve@example.com"}, {"currency": "EUR"}])
def test_without_an_account_in_this_currency_there_is_no_credit(account: CreditAccount, other: dict[str, Any]) -> None:
    with pytest.raises(NoCredit) as refused:
        hold(**other)
    assert str(refused.value) == "You have no credit account with us; please pay by card instead."
    assert refused.value.customer_email == other.get("customer_email", "ADA@example.com")
    assert (kept_back(), CreditHold.objects.count(), emitted("payments")) == (0, 0, [])


def test_released_credit_is_free_again(account: CreditAccount) -> None:
    hold()
    release()
    release()
    row = CreditHold.objects.get()
    assert (row.status, row.released_at) == ("released", LATER)
    assert (kept_back(), emitted("payments")) == (0, ["credit_held", "credit_released"])
    assert Event.objects.latest("position").data["amount_minor"] == 2000


def test_releasing_where_nothing_is_held_does_nothing(account: CreditAccount) -> None:
    release()
    assert (kept_back(), emitted("payments")) == (0, [])


def test_a_hold_that_comes_after_the_release_keeps_nothing_back(account: CreditAccount) -> None:
    hold()
    release()
    with pytest.raises(CreditHoldEnded):
        hold()
    assert kept_back() == 0


def test_an_undo_frees_only_what_its_own_run_kept_back(account: CreditAccount) -> None:
    hold(key="first run")
    with pytest.raises(CreditHeldAlready):
        hold(key="second run")
    release(key="second run")
    assert kept_back() == 2000
    release(key="first run")
    assert hold(key="second run").status == "held"
    release(key="first run")
    assert kept_back() == 2000


def test_holds_at_once_never_pass_the_limit(committed_account: CreditAccount) -> None:
    answers = at_once(*[lambda: hold(1500, order_id=uuid4())] * 8)
    assert sorted(type(answer).__name__ for answer in answers) == ["CreditHold"] * 3 + ["CreditLimitExceeded"] * 5
    assert (kept_back(), CreditHold.objects.count(), emitted("payments")) == (4500, 3, ["credit_held"] * 3)


@pytest.mark.parametrize("amount_minor", [1500, 5000])
def test_many_holds_for_one_order_at_once_are_one(committed_account: CreditAccount, amount_minor: int) -> None:
    answers = at_once(*[lambda: hold(amount_minor)] * 4)
    assert answers == [CreditHold.objects.get()] * 4
    assert (kept_back(), emitted("payments")) == (amount_minor, ["credit_held"])


def test_many_releases_at_once_release_once(committed_account: CreditAccount) -> None:
    hold(order_id=OTHER, amount_minor=1)
    hold()
    assert at_once(*[release] * 4) == [None] * 4
    assert (kept_back(), emitted("payments")) == (1, ["credit_held", "credit_held", "credit_released"])


def test_holding_and_releasing_at_once_do_not_wait_for_each_other_for_ever(committed_account: CreditAccount) -> None:
    def there_and_back(order_id: UUID) -> None:
        hold(500, order_id=order_id)
        release(order_id)

    assert at_once(*[lambda: there_and_back(uuid4())] * 8) == [None] * 8
    assert kept_back() == 0


@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["hold", "hold", "release"]), st.integers(1, 4), st.integers(1, 3000)), max_size=15
    )
)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_back_always_equals_the_open_holds(
    account: CreditAccount, actions: list[tuple[str, int, int]]
) -> None:
    with transaction.atomic():
        for action, number, amount_minor in actions:
            try:
                if action == "hold":
                    hold(amount_minor, order_id=UUID(int=number))
                else:
                    release(UUID(int=number))
            except CreditHoldEnded:
                assert action == "hold"
            except CreditLimitExceeded as refused:
                assert kept_back() + amount_minor > 5000 == kept_back() + refused.available_minor  # noqa: PT017
            open_holds = CreditHold.objects.filter(status="held").values_list("amount_minor", flat=True)
            assert kept_back() == sum(open_holds) <= 5000
        transaction.set_rollback(True)


def test_a_limit_below_what_is_held_is_a_form_error(account: CreditAccount) -> None:
    hold()
    account.refresh_from_db()
    account.limit_minor = 1999
    with pytest.raises(ValidationError, match=r"£20\.00 of it is held by open orders"):
        account.full_clean()


# Selectors -------------------------------------------------------------------------------------------------------


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


# What the database itself refuses --------------------------------------------------------------------------------


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
