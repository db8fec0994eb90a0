"""Errors of payments."""

from backoffice.money import formatted
from sagas.core.errors import OutcomeUnknown, Rejected, Retryable


class CardDeclined(Rejected):
    """The bank declined the payment."""

    def __init__(self, reason: str = "Your card was declined.") -> None:
        super().__init__(reason)
        self.reason = reason


class PaidAlready(Rejected):
    """The order was charged before, under another key."""

    def __init__(self, order_id: object) -> None:
        super().__init__("This order is paid already.")
        self.order_id = order_id


class UnknownPaymentMethod(Rejected):
    """The provider does not know this way to pay."""

    def __init__(self, method: str) -> None:
        super().__init__(f"There is no payment method {method!r}.")
        self.method = method


class PaymentCancelled(Rejected):
    """The payment was cancelled before it was made; the provider refuses to make it now."""

    def __init__(self, key: str) -> None:
        super().__init__("The payment was cancelled.")
        self.key = key


class ProviderBusy(Retryable):
    """The provider asks to try again later; nothing was charged."""


class NoAnswer(OutcomeUnknown):
    """The provider did not answer in time; it may or may not have charged."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The payment provider did not answer within {seconds:g} s.")
        self.seconds = seconds


class CreditHeldAlready(Rejected):
    """Credit is held for this order under another key."""

    def __init__(self, order_id: object) -> None:
        super().__init__("Credit is held for this order already.")
        self.order_id = order_id


class CreditHoldEnded(Rejected):
    """The credit held under this key was released; the key cannot be used again."""

    def __init__(self, order_id: object) -> None:
        super().__init__("The credit held for this order was freed.")
        self.order_id = order_id


class NoCredit(Rejected):
    """The customer has no credit account in this currency."""

    def __init__(self, customer_email: str) -> None:
        super().__init__("You have no credit account with us; please pay by card instead.")
        self.customer_email = customer_email


class CreditLimitExceeded(Rejected):
    """The order is larger than what is left of the customer's credit."""

    def __init__(self, *, wanted_minor: int, available_minor: int, currency: str) -> None:
        wanted, left = formatted(wanted_minor, currency), formatted(available_minor, currency)
        super().__init__(f"The order costs {wanted}, and your credit has {left} left.")
        self.wanted_minor, self.available_minor = wanted_minor, available_minor
