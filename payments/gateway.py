"""The protocol of payment providers; `gateways/` has the implementations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from backoffice.money import currency_code


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to pay.

    Attributes:
        code: stored, and sent to the provider.
        name: name for people, shown on every order paid by it.
        note: hint beside the choice.
    """

    code: str
    name: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A charge in the provider's books, by key; `amount_minor` in minor units of `currency`.

    Raises:
        UnknownCurrency: the provider named a currency that ISO 4217 does not list.
    """

    reference: str
    amount_minor: int
    currency: str
    refunded: bool = False

    def __post_init__(self) -> None:
        # Some providers write `gbp`.
        object.__setattr__(self, "currency", currency_code(self.currency))


@dataclass(frozen=True, kw_only=True)
class ChargeOrder:
    """A charge to make.

    Attributes:
        key: fixed before the first call; identifies the payment at the provider.
        amount_minor: minor units of `currency` (ISO 4217), > 0.
    """

    key: str
    amount_minor: int
    currency: str
    method: str


class Gateway(Protocol):
    """A payment provider that identifies every payment by our key.

    One object serves all threads of a process; it is made without arguments and reads its own settings.
    Every call may raise `NoAnswer` (the call was sent, no answer came) or `ProviderBusy` (no effect, try again later).
    """

    @property
    def methods(self) -> tuple[Method, ...]:
        """The payment methods it takes."""

    def charge_many(self, orders: Sequence[ChargeOrder]) -> Mapping[str, Charge | Exception]:
        """Charge once per key; return the charge, or why there is none, by key. A repeat returns the first charge.

        Reasons: `CardDeclined`, the bank declined it, and a repeat gets the same answer; `PaymentCancelled`, `refund`
        came first; `UnknownPaymentMethod`, not one of `methods`; `ProviderBusy`; `NoAnswer`.

        One order always has an outcome. With many, a missing key had no quick answer: it may have been charged.
        """

    def find(self, *, key: str) -> Charge | None:
        """Return the charge under `key`; None if there is none.

        Raises:
            CardDeclined: the bank declined it.
        """

    def refund(self, *, key: str) -> Charge | None:
        """Refund the charge under `key`, once; None if there is none.

        In both cases the key cannot be used again: a charge that arrives later is refused (no hanging charge).
        """


def gateway() -> Gateway:
    """Return the provider that the setting `PAYMENTS_GATEWAY` names.

    Raises:
        ImportError: there is no such class; the system check `payments.E001` says so when a process starts.
    """
    return _made(settings.PAYMENTS_GATEWAY)


@cache
def _made(path: str) -> Gateway:
    made: Gateway = import_string(path)()
    return made


def check_gateway(**_: Any) -> list[CheckMessage]:
    """Report a provider that cannot be used; a system check."""
    path = settings.PAYMENTS_GATEWAY
    try:
        found: Any = gateway()
    except Exception as error:  # noqa: BLE001 - its module or its constructor may raise anything
        why = f"{type(error).__name__}: {error}"
        hint = "Name a class by its dotted path, such as payments.gateways.fake.FakeGateway."
        return [Error(f"PAYMENTS_GATEWAY: {path!r} cannot be used. {why}", hint=hint, id="payments.E001")]
    missing = [name for name in _CALLED if not callable(getattr(found, name, None))]
    missing += [] if hasattr(found, "methods") else ["methods"]
    if missing:
        said = f"PAYMENTS_GATEWAY: {path!r} has no {', '.join(missing)}."
        return [Error(said, hint="payments.gateway.Gateway says what a provider has to do.", id="payments.E002")]
    return []


_CALLED = ("charge_many", "find", "refund")
