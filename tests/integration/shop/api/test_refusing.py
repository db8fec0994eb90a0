"""What the HTTP API refuses to place, and that a refusal leaves nothing behind."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.models import Order, Product
from sagas.models import Event

from .conftest import PROBLEM, assert_refused, body, post

pytestmark = pytest.mark.usefixtures("longest_pauses")


def line(**changes: Any) -> dict[str, Any]:
    return body(lines=[{"sku": "MUG", "quantity": 1}, {"sku": "MUG", "quantity": 1} | changes])


def customer(**changes: Any) -> dict[str, Any]:
    return body(customer={"email": "ada@example.com", "name": "Ada"} | changes)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (line(sku="NOPE"), "lines.1.sku"),
        (line(sku=""), "lines.1.sku"),
        (line(sku="M" * 41), "lines.1.sku"),
        (line(sku="MU\x00G"), "lines.1.sku"),
        (line(sku="MUG\ud800"), "lines.1.sku"),
        (line(sku=7), "lines.1.sku"),
        (line(sku="mug"), "lines.1.sku"),
        (line(quantity=0), "lines.1.quantity"),
        (line(quantity=-1), "lines.1.quantity"),
        (line(quantity=1_000_001), "lines.1.quantity"),
        (line(quantity=10**30), "lines.1.quantity"),
        (line(quantity=True), "lines.1.quantity"),
        (line(quantity=1.0), "lines.1.quantity"),
        (line(quantity="1"), "lines.1.quantity"),
        (line(quantity=None), "lines.1.quantity"),
        (line(quantity=[1]), "lines.1.quantity"),
        (line(unit_price_minor=1), "lines.1.unit_price_minor"),
        (body(lines=[{"sku": "MUG"}]), "lines.0.quantity"),
        (body(lines=[]), "lines"),
        (body(lines={}), "lines"),
        (body(lines=None), "lines"),
        (body(lines=["MUG"]), "lines.0"),
        (body(lines=[{"sku": "MUG", "quantity": 1}] * 1001), "lines"),
        (customer(email="ada"), "customer.email"),
        (customer(email=""), "customer.email"),
        (customer(email="ada@example.com\nBcc: x@example.com"), "customer.email"),
        (customer(email=f"{'a' * 250}@example.com"), "customer.email"),
        (customer(name=""), "customer.name"),
        (customer(name="   "), "customer.name"),
        (customer(name="A" * 201), "customer.name"),
        (customer(name="Ada\nLovelace"), "customer.name"),
        (customer(name="Ada\x00"), "customer.name"),
        (customer(phone="1"), "customer.phone"),
        (body(customer=None), "customer"),
        (body(payment_method="tok_nope"), "payment_method"),
        (body(payment_method=""), "payment_method"),
        (body(payment_method="x" * 100_000), "payment_method"),
        (body(payment_method=1), "payment_method"),
        (body(payment_methods="tok_visa"), "payment_methods"),
        (body(**{"\x00": 1}), "\\x00"),
        ([], "body"),
        ("order", "body"),
        (None, "body"),
        (1, "body"),
        (b"", "body"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_written(shelves: None, sent: Any, field: str) -> None:
    assert_refused(post(sent, key="k"), 422, field)


def test_all_wrong_fields_are_named_at_once(shelves: None) -> None:
    assert_refused(
        post({"customer": {"email": "a@example.com"}, "lines": [{"sku": "MUG", "quantity": 0}]}),
        422,
        "customer.name",
        "lines.0.quantity",
        "payment_method",
    )


def test_a_product_that_is_not_for_sale_is_unknown(shelves: None) -> None:
    Product.objects.filter(sku="LAMP").update(active=False)
    assert_refused(post(body(lines=[{"sku": "LAMP", "quantity": 1}])), 422, "lines.0.sku")


def test_a_total_no_provider_takes_is_refused(shelves: None) -> None:
    lines = [{"sku": "LAMP", "quantity": 1_000_000}] * 300
    assert_refused(post(body(lines=lines)), 422, "lines")


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        (b"{", ["body"]),
        (b"\xff\xfe", ["body"]),
        (b'{"quantity": NaN}', ["body"]),
        (b'{"quantity": ' + b"9" * 5000 + b"}", ["body"]),
        (json.dumps(body()).encode("utf-16"), ["body"]),
        (b"[" * 100_000, []),
        (b'{"a":' * 100_000, []),
        (b'{"lines": [], "lines": []}', ["lines"]),
    ],
)
def test_a_body_that_is_not_json_is_refused(shelves: None, raw: bytes, fields: list[str]) -> None:
    assert_refused(post(raw), 400, *fields)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_is_not_announced_as_json_is_refused(shelves: None, content_type: str) -> None:
    assert_refused(post(body(), content_type=content_type), 415)


def test_a_body_that_is_too_large_is_refused(shelves: None) -> None:
    assert_refused(post(b" " * 2_700_000), 413)


@pytest.mark.parametrize("key", ["", "k" * 256, "schlüssel", "a\tb", "import:536365"])
def test_a_key_that_cannot_be_kept_is_refused(shelves: None, key: str) -> None:
    assert_refused(post(body(), key=key), 422, "Idempotency-Key")


def test_a_key_of_255_characters_is_kept(shelves: None) -> None:
    assert post(body(), key="k" * 255).status_code == 201
    assert Order.objects.get().idempotency_key == "k" * 255


# Anything ---------------------------------------------------------------------------------------------------------


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["MUG", "tok_visa", "invoice", "ada@example.com", "\x00", "\ud800", 10**40, -1, 0, 1, ""])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["customer", "lines", "payment_method", "email", "name", "sku", "quantity"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PLACES = st.sampled_from(
    [
        ("customer",),
        ("customer", "email"),
        ("customer", "name"),
        ("customer", "more"),
        ("lines",),
        ("lines", 0),
        ("lines", 0, "sku"),
        ("lines", 0, "quantity"),
        ("payment_method",),
        ("more",),
    ]
)


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    sent = body()
    at: Any = sent
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    return sent


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=JSON | st.builds(changed, PLACES, JSON) | st.binary(max_size=200), key=st.none() | st.text(max_size=5))
def test_whatever_is_sent_is_an_order_or_a_refusal_that_writes_nothing(
    shelves: None, sent: Any, key: str | None
) -> None:
    # A header cannot carry everything; what it cannot carry does not arrive.
    key = None if key is None or not key.isprintable() or not key.isascii() else key
    before = Order.objects.count(), Event.objects.count()
    response = post(sent, key=key)
    after = Order.objects.count(), Event.objects.count()
    if response.status_code == 201:
        assert after == (before[0] + 1, before[1] + 1) or response["Idempotent-Replayed"] == "true"
    else:
        assert response.status_code in {400, 413, 415, 422}
        assert response["Content-Type"] == PROBLEM
        assert after == before
