"""The order flow as stories: given an order, when a step answers so, expect this. No database, no broker."""

from datetime import timedelta
from uuid import UUID

import pytest

from inventory.errors import OutOfStock
from orders.events import Line, OrderPlaced
from payments.errors import CardDeclined, CreditLimitExceeded, NoAnswer, ProviderBusy
from sagas.core.errors import Rejected, Retryable
from sagas.testing import Scenario
from shop.processes.fulfil_order import fulfil_order

BY_CARD = OrderPlaced(
    order_id=UUID(int=1),
    number="S1",
    customer_email="ada@example.com",
    customer_name="Ada Lovelace",
    payment_method="tok_visa",
    currency="GBP",
    total_minor=2000,
    lines=(Line(sku="MUG", name="Mug", quantity=2, unit_price_minor=1000),),
)
BY_INVOICE = BY_CARD.model_copy(update={"payment_method": "invoice"})

REJECTED = ["close-order", "tell-customer"]


def test_an_order_by_card() -> None:
    Scenario(fulfil_order).given(BY_CARD).when("book-shipment", {"tracking_number": "PX1"}).expect(
        "completed",
        did=["reserve-stock", "capture-payment", "book-shipment", "confirm-order", "notify-customer"],
        results={"book-shipment": {"tracking_number": "PX1"}},
        took_at_most=timedelta(0),
    )


def test_an_order_by_invoice_holds_credit_instead() -> None:
    Scenario(fulfil_order).given(BY_INVOICE).expect(
        "completed", did=["reserve-stock", "hold-credit", "book-shipment", "confirm-order", "notify-customer"]
    )


@pytest.mark.parametrize(
    ("event", "step", "refusal", "did"),
    [
        (BY_CARD, "reserve-stock", OutOfStock("MUG", wanted=2, available=1), ["reserve-stock"]),
        (BY_CARD, "capture-payment", CardDeclined(), ["reserve-stock", "capture-payment", "release-stock"]),
        (
            BY_INVOICE,
            "hold-credit",
            CreditLimitExceeded(wanted_minor=2000, available_minor=1, currency="GBP"),
            ["reserve-stock", "hold-credit", "release-stock"],
        ),
        (
            BY_CARD,
            "book-shipment",
            Rejected("no van"),
            ["reserve-stock", "capture-payment", "book-shipment", "refund", "release-stock"],
        ),
        (
            BY_INVOICE,
            "book-shipment",
            Rejected("no van"),
            ["reserve-stock", "hold-credit", "book-shipment", "release-credit", "release-stock"],
        ),
    ],
)
def test_a_refusal_undoes_what_came_before_it(event: OrderPlaced, step: str, refusal: Rejected, did: list[str]) -> None:
    Scenario(fulfil_order).given(event).when(step, refusal).expect(
        "undone", did=[*did, *REJECTED], failure=type(refusal).__name__
    )


def test_a_busy_provider_is_tried_again() -> None:
    Scenario(fulfil_order).given(BY_CARD).when("capture-payment", ProviderBusy("503"), ProviderBusy("503")).expect(
        "completed", took_at_most=timedelta(seconds=20)
    )


def test_a_lost_answer_is_asked_for() -> None:
    ending = (
        Scenario(fulfil_order)
        .given(BY_CARD)
        .when("capture-payment", NoAnswer(1))
        .when("capture-payment?", {"charged": "20.00"})
        .expect("completed")
    )
    assert ending.did[:3] == ("reserve-stock", "capture-payment", "capture-payment?")
    assert ending.did.count("capture-payment") == 1
    assert ending.results["capture-payment"] == {"charged": "20.00"}


def test_a_provider_that_never_answers_is_given_up_and_refunded() -> None:
    ending = (
        Scenario(fulfil_order)
        .given(BY_CARD)
        .when("capture-payment", *[NoAnswer(1)] * 9)
        .when("capture-payment?", *[NoAnswer(1)] * 9)
        .expect("undone", failure="OutcomeUnknown")
    )
    assert ending.did[-4:] == ("refund", "release-stock", *REJECTED)


def test_a_day_is_over_before_the_provider_answers() -> None:
    Scenario(fulfil_order).given(BY_CARD).takes("reserve-stock", hours=25).expect(
        "undone", did=["reserve-stock", "release-stock", *REJECTED], failure="DeadlinePassed"
    )


def test_behind_the_pivot_a_late_order_goes_on() -> None:
    Scenario(fulfil_order).given(BY_CARD).takes("book-shipment", hours=25).expect("completed")


def test_an_undo_that_never_works_needs_a_person() -> None:
    Scenario(fulfil_order).given(BY_CARD).when("book-shipment", Rejected("no van")).when(
        "refund", *[Retryable("busy")] * 99
    ).expect("needs_attention", failure="Rejected", attention="Retryable")


def test_a_story_that_is_told_wrongly_fails() -> None:
    story = Scenario(fulfil_order).given(BY_CARD).when("capture-payment", CardDeclined())
    with pytest.raises(AssertionError, match="status: expected 'completed', found 'undone'"):
        story.expect("completed")
    with pytest.raises(LookupError, match="fulfil-order has no 'capture'; it has reserve-stock, release-stock"):
        story.when("capture")
    with pytest.raises(LookupError, match="begins with an event"):
        Scenario(fulfil_order).expect("completed")
