"""What the shop asks of a payment provider; `gateways/` holds those it can talk to."""

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
        code: what is stored, and sent to the provider.
        name: what people call it, on every order paid by it.
        note: what to know before choosing it; shown where it is chosen.
    """

    code: str
    name: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a provider has in its books under a key; `amount_minor` in minor units of `currency`.

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
    """What `charge` is called with.

    Attributes:
        key: fixed before the first call; the provider knows the payment by it.
        amount_minor: minor units of `currency` (ISO 4217), > 0.
    """

    key: str
    amount_minor: int
    currency: str
    method: str


class Gateway(Protocol):
    """A payment provider that knows every payment by a key of ours.

    One object serves all threads of a process; it is made without arguments and reads its own settings.
    Every call may raise `NoAnswer` (asked, and heard nothing) or `ProviderBusy` (nothing happened, come back).
    """

    @property
    def methods(self) -> tuple[Method, ...]:
        """The payment methods it takes."""

    def charge(self, order: ChargeOrder) -> Charge:
        """Charge once per key; a repeat returns the first charge.

        Raises:
            CardDeclined: the bank says no; a repeat gets the same answer.
            PaymentCancelled: `refund` came first.
            UnknownPaymentMethod: not one of `methods`.
        """

    def charge_many(self, orders: Sequence[ChargeOrder]) -> Mapping[str, Charge | Exception]:
        """Charge once per key; return the charge, or what `charge` would raise, by key.

        Of many orders, a key that is missing has not answered within moments: it may have been charged. Ask for it
        alone.
        """

    def find(self, *, key: str) -> Charge | None:
        """Return what was charged under `key`, or None if nothing was.

        Raises:
            CardDeclined: the bank said no.
        """

    def refund(self, *, key: str) -> Charge | None:
        """Give back what was charged under `key`, once; None if nothing was.

        Either way the key is spent: a charge that arrives later is refused (no hanging charge).
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
    """Say clearly when the provider cannot be used; a system check."""
    path = settings.PAYMENTS_GATEWAY
    try:
        found: Any = gateway()
    except Exception as error:  # noqa: BLE001 - whatever its module or its constructor raises
        why = f"{type(error).__name__}: {error}"
        hint = "Name a class by its dotted path, such as payments.gateways.fake.FakeGateway."
        return [Error(f"PAYMENTS_GATEWAY: {path!r} cannot be used. {why}", hint=hint, id="payments.E001")]
    missing = [name for name in _ASKED if not hasattr(found, name)]
    if missing:
        said = f"PAYMENTS_GATEWAY: {path!r} has no {', '.join(missing)}."
        return [Error(said, hint="payments.gateway.Gateway says what a provider has to do.", id="payments.E002")]
    return []


_ASKED = ("methods", "charge", "charge_many", "find", "refund")
