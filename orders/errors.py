"""Refusals of orders."""

from backoffice.money import formatted
from sagas.core.errors import Rejected


class OrderRefused(Rejected):
    """The order is not acceptable.

    Attributes:
        field: dotted path of the invalid input, such as `lines.0.sku`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


class UnknownProduct(OrderRefused):
    """No product that can be ordered has this SKU."""

    def __init__(self, field: str, sku: str) -> None:
        super().__init__(field, f"There is no product {sku!r}.")
        self.sku = sku


class TotalChanged(OrderRefused):
    """A price was changed after the customer was shown the total."""

    def __init__(self, *, expected_minor: int, total_minor: int, currency: str) -> None:
        super().__init__(
            "expected_total_minor",
            f"The total is {formatted(total_minor, currency)} now, not {formatted(expected_minor, currency)}.",
        )
        self.expected_minor, self.total_minor, self.currency = expected_minor, total_minor, currency


class KeyUsedForAnotherOrder(OrderRefused):
    """The idempotency key was used before, for another order."""

    def __init__(self, key: str) -> None:
        super().__init__("Idempotency-Key", "This key was used before, for an order with other contents.")
        self.key = key


class OrderDecidedAlready(Rejected):
    """The order is confirmed, rejected or cancelled and stays so."""

    def __init__(self, number: str, status: str) -> None:
        super().__init__(f"Order {number} is {status} already.")
        self.number, self.status = number, status
