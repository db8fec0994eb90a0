"""Money as people read it; everywhere else it is an integer of minor units with its currency beside it."""

from decimal import Decimal

_SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}


def formatted(amount_minor: int, currency: str) -> str:
    """Return `£1,234.50` for 123450 and GBP."""
    amount = f"{Decimal(amount_minor) / 100:,.2f}"
    return f"{_SYMBOLS[currency]}{amount}" if currency in _SYMBOLS else f"{amount} {currency}"
