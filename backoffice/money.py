"""Money as text and back. Everywhere else it is an integer of minor units with an ISO 4217 code beside it.

Pure: no Django. The form fields are in `money_fields.py`.
"""

import re
from decimal import Decimal
from functools import cache

from iso4217 import Currency

_SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}
#: The largest amount that fits any payment provider's field; a larger one is a typing error.
MAX_MINOR = 10**12
#: 1234.50 and 1,234.50; not 12,50, which may mean 12.50 or 1250.
_AMOUNT = re.compile(r"-?([0-9]{1,15}|[0-9]{1,3}(,[0-9]{3}){1,4})(\.[0-9]{1,15})?")


class UnknownCurrency(ValueError):  # noqa: N818 - a refusal, no bug
    """No currency of ISO 4217 has this code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"{code!r} is not a currency; a code of ISO 4217 such as GBP is needed.")
        self.code = code


class NotAnAmount(ValueError):  # noqa: N818 - a refusal, no bug
    """The text is not an amount of this currency; the message says what one looks like."""


@cache
def _decimals() -> dict[str, int]:
    """Return the decimals of every currency that has an amount; gold and test codes have none."""
    return {each.code: each.exponent for each in Currency if each.exponent is not None}


def decimals(currency: str) -> int:
    """Return how many decimals an amount has: 2 for GBP, 0 for JPY, 3 for KWD.

    Raises:
        UnknownCurrency: the code is unknown, or not in capitals.
    """
    try:
        return _decimals()[currency]
    except KeyError:
        raise UnknownCurrency(currency) from None


def currency_code(text: str) -> str:
    """Return a code as it is stored: `GBP` for ` gbp`.

    Raises:
        UnknownCurrency: ISO 4217 does not list it.
    """
    code = text.strip().upper()
    if code not in _decimals():
        raise UnknownCurrency(text)
    return code


def plain(minor: int, currency: str) -> str:
    """Return an amount as it is typed into a form: `1234.50` for 123450 and GBP."""
    return f"{Decimal(minor).scaleb(-decimals(currency)):f}"


def formatted(minor: int, currency: str) -> str:
    """Return an amount as text for people: `£1,234.50`, `1,500 JPY`.

    A row can hold an unknown code (an old one, or an error by hand): its amount is shown in minor units, and the text
    says so.
    """
    sign, size = "-" if minor < 0 else "", Decimal(abs(minor))
    if currency not in _decimals():
        return f"{sign}{size:,} minor units of {currency or 'no currency'}"
    amount = f"{size.scaleb(-decimals(currency)):,f}"
    return f"{sign}{_SYMBOLS[currency]}{amount}" if currency in _SYMBOLS else f"{sign}{amount} {currency}"


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount in minor units: 1295 for 12.95 and GBP, 12950 for 12.95 and KWD.

    Raises:
        NotAnAmount: it has more decimals than the currency, or is too large.
        UnknownCurrency: the code is unknown.
    """
    minor = amount.scaleb(decimals(currency))
    if minor != int(minor):
        raise NotAnAmount(_sample(currency))
    if abs(minor) > MAX_MINOR:
        raise NotAnAmount(f"At most {formatted(MAX_MINOR, currency)}.")
    return int(minor)


def parsed(text: str, currency: str) -> int:
    """Return a typed amount in minor units: 123450 for `1,234.50` and GBP.

    Raises:
        NotAnAmount: it is no amount of this currency.
        UnknownCurrency: the code is unknown.
    """
    typed = text.strip()
    if not _AMOUNT.fullmatch(typed):
        raise NotAnAmount(_sample(currency))
    return minor_units(Decimal(typed.replace(",", "")), currency)


def _sample(currency: str) -> str:
    digits = decimals(currency)
    example = plain(1295 if digits == 0 else 1295 * 10 ** (digits - 2), currency)
    has = f"{digits} decimals" if digits else "no decimals"
    return f"An amount such as {example} is needed; {currency} has {has}."
