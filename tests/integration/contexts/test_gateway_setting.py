"""The payment provider is chosen by the setting PAYMENTS_GATEWAY."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from payments import selectors
from payments.gateway import Charge, ChargeOrder, Method, check_gateway, gateway
from payments.gateways.fake import FakeGateway
from payments.models import FakeCharge, Payment
from sagas.testing import drive
from tests.factories.orders import Place

HERE = "tests.integration.contexts.test_gateway_setting"


class Ledger:
    """A provider that writes into a list."""

    methods = (Method(code="ledger", name="On the slate"),)
    charged: dict[str, Charge] = {}

    def charge_many(self, orders: Sequence[ChargeOrder]) -> dict[str, Charge]:
        for order in orders:
            charge = Charge(
                reference=f"{order.method}-{order.key}",
                amount_minor=order.amount_minor,
                currency=order.currency.lower(),
            )
            self.charged.setdefault(order.key, charge)
        return {order.key: self.charged[order.key] for order in orders}

    def find(self, *, key: str) -> Charge | None:
        return self.charged.get(key)

    def refund(self, *, key: str) -> Charge | None:
        return self.charged.pop(key, None)


class Half:
    methods: tuple[Method, ...] = ()

    def charge_many(self) -> None:
        """Charge nobody."""


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("no key for the provider")


@pytest.fixture
def ledger(settings: LazySettings) -> Iterator[type[Ledger]]:
    settings.PAYMENTS_GATEWAY = f"{HERE}.Ledger"
    yield _loaded()
    _loaded().charged.clear()


def _loaded() -> Any:
    """Return the class as the setting names it: pytest loads this file under another name too."""
    return type(gateway())


def test_the_fake_is_the_default() -> None:
    assert isinstance(gateway(), FakeGateway)
    assert check_gateway() == []


def test_one_object_serves_a_process() -> None:
    assert gateway() is gateway()


def test_another_provider_brings_its_methods_and_takes_the_money(ledger: type[Ledger], place: Place) -> None:
    assert check_gateway() == []
    assert selectors.methods() == ("ledger", "invoice")
    assert selectors.method_name("ledger") == "On the slate"
    order = place("ledger")
    drive()
    order.refresh_from_db()
    payment = Payment.objects.get()
    assert (order.status, payment.amount_minor, payment.currency) == ("confirmed", 2000, "GBP")
    assert payment.provider_reference == f"ledger-{payment.key}"
    assert list(ledger.charged) == [payment.key]
    assert FakeCharge.objects.count() == 0


def test_the_api_takes_the_methods_of_the_provider_only(ledger: type[Ledger], shelves: None) -> None:
    def post(method: str) -> Any:
        body = {
            "customer": {"email": "ada@example.com", "name": "Ada"},
            "lines": [{"sku": "MUG", "quantity": 1}],
            "payment_method": method,
        }
        headers = {"Authorization": "Bearer test-token"}
        return Client().post("/api/orders", body, content_type="application/json", headers=headers)

    assert post("ledger").status_code == 201
    refused = post("tok_visa").json()
    assert refused["errors"] == [
        {"field": "payment_method", "message": "Not a way to pay here; one of ledger, invoice."}
    ]


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        (
            "payments.gateways.gone.Gateway",
            "payments.E001",
            (
                "PAYMENTS_GATEWAY: 'payments.gateways.gone.Gateway' cannot be used. "
                "ModuleNotFoundError: No module named 'payments.gateways.gone'"
            ),
        ),
        (
            "fake",
            "payments.E001",
            "PAYMENTS_GATEWAY: 'fake' cannot be used. ImportError: fake doesn't look like a module path",
        ),
        (
            f"{HERE}.Broken",
            "payments.E001",
            f"PAYMENTS_GATEWAY: '{HERE}.Broken' cannot be used. RuntimeError: no key for the provider",
        ),
        (
            f"{HERE}.Half",
            "payments.E002",
            f"PAYMENTS_GATEWAY: '{HERE}.Half' has no find, refund.",
        ),
    ],
)
def test_a_provider_that_cannot_be_used_is_told_by_a_system_check(
    settings: LazySettings, path: str, code: str, said: str
) -> None:
    settings.PAYMENTS_GATEWAY = path
    (error,) = check_gateway()
    assert (error.id, error.msg) == (code, said)
    assert error.hint
