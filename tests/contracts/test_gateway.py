"""What every payment provider must do for us, whichever it is: the fake one and those to come."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments.errors import CardDeclined, NoAnswer, PaymentCancelled, ProviderBusy, UnknownPaymentMethod
from payments.gateway import Charge, ChargeOrder, Gateway
from payments.gateways.fake import FakeGateway
from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.outcomes import only
from tests.concurrency import at_once

#: Each takes the same test names for methods that behave in a known way.
IMPLEMENTATIONS: list[Callable[[], Gateway]] = [FakeGateway]


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda implementation: implementation.__name__)
def gateway(request: pytest.FixtureRequest, transactional_db: None) -> Gateway:
    made: Gateway = request.param()
    return made


@pytest.fixture
def key() -> str:
    """Return a key that no test used before: a real provider remembers."""
    return f"contract:{uuid4()}"


def charge(gateway: Gateway, key: str, method: str = "tok_visa", amount_minor: int = 2000) -> Charge:
    """Charge once; raise the reason why there is no charge."""
    return only(gateway.charge_many([ChargeOrder(key=key, amount_minor=amount_minor, currency="GBP", method=method)]))


def test_it_names_the_methods_it_takes(gateway: Gateway) -> None:
    assert {method.code for method in gateway.methods} >= {
        "tok_visa",
        "tok_chargeDeclined",
        "tok_flaky",
        "tok_lostReply",
        "tok_down",
    }


def test_a_good_card_is_charged(gateway: Gateway, key: str) -> None:
    charged = charge(gateway, key)
    assert (charged.amount_minor, charged.currency, charged.refunded) == (2000, "GBP", False)
    assert charged.reference


def test_a_repeat_returns_the_first_charge(gateway: Gateway, key: str) -> None:
    first = charge(gateway, key)
    assert charge(gateway, key) == first
    assert charge(gateway, key, amount_minor=9999) == first
    assert gateway.find(key=key) == first


def test_another_key_is_another_charge(gateway: Gateway, key: str) -> None:
    assert charge(gateway, key).reference != charge(gateway, f"{key}:2").reference


def test_one_key_used_by_many_at_once_is_one_charge(gateway: Gateway, key: str) -> None:
    answers = at_once(*[lambda: charge(gateway, key)] * 5)
    assert answers == [gateway.find(key=key)] * 5


def test_what_was_never_charged_is_not_found(gateway: Gateway, key: str) -> None:
    assert gateway.find(key=key) is None


def test_finding_changes_nothing(gateway: Gateway, key: str) -> None:
    gateway.find(key=key)
    assert not charge(gateway, key).refunded


def test_a_declined_card_stays_declined(gateway: Gateway, key: str) -> None:
    for _ in range(2):
        with pytest.raises(CardDeclined, match="Your card was declined"):
            charge(gateway, key, "tok_chargeDeclined")
        with pytest.raises(CardDeclined):
            gateway.find(key=key)
    assert gateway.refund(key=key) is None
    with pytest.raises(CardDeclined):
        charge(gateway, key)


def test_a_refund_gives_the_charge_back_once(gateway: Gateway, key: str) -> None:
    charged = charge(gateway, key)
    refunded = gateway.refund(key=key)
    assert refunded == Charge(reference=charged.reference, amount_minor=2000, currency="GBP", refunded=True)
    assert gateway.refund(key=key) == refunded
    assert gateway.find(key=key) == refunded


def test_after_a_refund_the_key_is_spent(gateway: Gateway, key: str) -> None:
    charge(gateway, key)
    refunded = gateway.refund(key=key)
    with pytest.raises(PaymentCancelled):
        charge(gateway, key)
    assert gateway.find(key=key) == refunded


def test_a_refund_before_the_charge_leaves_no_charge_hanging(gateway: Gateway, key: str) -> None:
    assert gateway.refund(key=key) is None
    for _ in range(2):
        with pytest.raises(PaymentCancelled, match="The payment was cancelled"):
            charge(gateway, key)
    assert gateway.find(key=key) is None
    assert gateway.refund(key=key) is None


def test_a_flaky_provider_is_busy_twice_and_then_charges(gateway: Gateway, key: str) -> None:
    for _ in range(2):
        with pytest.raises(ProviderBusy):
            charge(gateway, key, "tok_flaky")
        assert gateway.find(key=key) is None
    charged = charge(gateway, key, "tok_flaky")
    assert charge(gateway, key, "tok_flaky") == gateway.find(key=key) == charged


def test_a_busy_provider_forgets_a_payment_that_was_called_off(gateway: Gateway, key: str) -> None:
    with pytest.raises(ProviderBusy):
        charge(gateway, key, "tok_flaky")
    assert gateway.refund(key=key) is None
    with pytest.raises(PaymentCancelled):
        charge(gateway, key, "tok_flaky")


def test_a_charge_whose_answer_got_lost_is_found(gateway: Gateway, key: str) -> None:
    with pytest.raises(NoAnswer):
        charge(gateway, key, "tok_lostReply")
    found = gateway.find(key=key)
    assert found is not None
    assert (found.amount_minor, found.refunded) == (2000, False)
    assert charge(gateway, key, "tok_lostReply") == found


def test_a_charge_whose_answer_got_lost_can_be_given_back(gateway: Gateway, key: str) -> None:
    with pytest.raises(NoAnswer):
        charge(gateway, key, "tok_lostReply")
    refunded = gateway.refund(key=key)
    assert refunded is not None
    assert refunded.refunded


def test_a_provider_that_is_down_never_answers_and_never_charges(gateway: Gateway, key: str) -> None:
    for _ in range(3):
        with pytest.raises(NoAnswer):
            charge(gateway, key, "tok_down")
    assert gateway.find(key=key) is None
    assert gateway.refund(key=key) is None
    with pytest.raises(PaymentCancelled):
        charge(gateway, key, "tok_down")


def test_a_method_it_does_not_know_is_refused(gateway: Gateway, key: str) -> None:
    with pytest.raises(UnknownPaymentMethod, match="There is no payment method 'cheque'") as refused:
        charge(gateway, key, "cheque")
    assert refused.value.method == "cheque"
    assert gateway.find(key=key) is None


def test_its_errors_say_whether_to_undo_to_try_again_or_to_ask() -> None:
    assert all(issubclass(error, Rejected) for error in (CardDeclined, PaymentCancelled, UnknownPaymentMethod))
    assert issubclass(ProviderBusy, Retryable)
    assert issubclass(NoAnswer, OutcomeUnknown)


@given(
    method=st.sampled_from(["tok_visa", "tok_flaky", "tok_lostReply", "tok_chargeDeclined"]),
    calls=st.lists(st.sampled_from(["charge", "charge", "find", "refund"]), max_size=8),
)
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_order_it_is_asked_one_key_is_charged_and_refunded_once(
    gateway: Gateway, method: str, calls: list[str]
) -> None:
    key = f"contract:{uuid4()}"
    seen: set[str] = set()
    refunded = False
    for call in calls:
        try:
            if call == "charge":
                answer: Charge | None = charge(gateway, key, method)
            elif call == "find":
                answer = gateway.find(key=key)
            else:
                answer = gateway.refund(key=key)
        except (Rejected, Retryable, OutcomeUnknown):
            continue
        if answer is not None:
            seen.add(answer.reference)
            # What was given back stays so, and is never charged again.
            assert answer.refunded >= refunded
            assert not (call == "charge" and answer.refunded)
            assert answer.refunded or call != "refund"
            refunded = answer.refunded
    assert len(seen) <= 1
