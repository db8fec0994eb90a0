"""What the shop asks of a payment provider; `gateways/` holds those it can talk to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a provider has in its books under a key; `amount_minor` in minor units of `currency`."""

    reference: str
    amount_minor: int
    currency: str
    refunded: bool = False


@dataclass(frozen=True, kw_only=True)
class ChargeOrder:
    """What `charge` is called with."""

    key: str
    amount_minor: int
    currency: str
    method: str


class Gateway(Protocol):
    """A payment provider that knows every payment by a key of ours.

    Every call may raise `NoAnswer` (asked, and heard nothing) or `ProviderBusy` (nothing happened, come back).
    """

    @property
    def methods(self) -> tuple[str, ...]:
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
