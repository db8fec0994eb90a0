"""The fields of an invoice line: each is parsed, or refused with a reason."""

import re
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

from django.conf import settings

from backoffice.money import NotAnAmount, minor_units
from orders.services import MAX_QUANTITY

_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,39}")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_PRICE = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
#: If the separator is not a comma, spreadsheets write the decimal sign of their country. Three digits behind it may be
#: thousands, so they are refused.
_PRICE_WITH_EITHER_SIGN = re.compile(r"-?[0-9]{1,15}([.,][0-9]{1,2})?")
_NUMBERED_CUSTOMER = re.compile(r"([0-9]{1,18})(?:\.0)?")  # some exports write it as 17850.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_INVOICE = re.compile(r"[!-~]{1,100}")
#: Month first, as in the original; some exports write slashes. With dots the day is first.
_DATES = ("%m-%d-%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M")


class BadLine(Exception):  # noqa: N818 - a refusal, no bug
    """The line cannot be imported; `kind` is the reason without details."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def invoice(text: str) -> str:
    if not text:
        raise BadLine("invoice number", "InvoiceNo is empty")
    if not _INVOICE.fullmatch(text):
        raise BadLine("invoice number", f"InvoiceNo {text[:100]!r} is not an invoice number")
    if text[0] in "Cc":
        raise BadLine("cancellation", f"invoice {text} is a cancellation; those are not imported yet")
    return text


def check_date(text: str) -> None:
    # Only checked: an order is placed when it is imported, and its deadlines count from then.
    for form in _DATES:
        with suppress(ValueError):
            datetime.strptime(text, form)  # noqa: DTZ007 - the file does not say in which zone
            return
    raise BadLine("date", f"InvoiceDate {text[:100]!r} is not a date like 12-31-2010 08:26")


def sku(text: str) -> str:
    if not text:
        raise BadLine("stock code", "StockCode is empty")
    if not _SKU.fullmatch(text):
        raise BadLine("stock code", f"StockCode {text[:100]!r} is not a SKU")
    return text


def description(text: str) -> str:
    """Return the text as it was typed, on one line."""
    one_line = " ".join(text.strip(" \t\r\n").splitlines()).replace("\t", " ")
    if _CONTROL.search(one_line):
        raise BadLine("description", f"Description {text[:100]!r} has control characters")
    return one_line[:200] if one_line.strip() else ""


def quantity(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise BadLine("quantity", f"Quantity {text[:100]!r} is not a whole number")
    whole = int(text)
    if whole <= 0:
        raise BadLine("return", f"Quantity {whole} is not positive; returns are not imported yet")
    if whole > MAX_QUANTITY:
        raise BadLine("quantity", f"Quantity {whole} is more than {MAX_QUANTITY}")
    return whole


def price(text: str, *, separator: str) -> int:
    """Return minor units.

    Args:
        separator: separator of the file's columns; if it is not a comma, a price may have a decimal comma.
    """
    if separator == ",":
        if "," in text:
            raise BadLine("price", f"UnitPrice {text[:100]!r} has a comma; write it like 1234.50")
        form = _PRICE
    else:
        form = _PRICE_WITH_EITHER_SIGN
    if not form.fullmatch(text):
        raise BadLine("price", f"UnitPrice {text[:100]!r} is not a number like 1234.50")
    amount = Decimal(text.replace(",", "."))
    if amount <= 0:
        raise BadLine(
            "price not positive", f"UnitPrice {text} is not positive; free lines and discounts are not imported"
        )
    try:
        # Not rounded: that would change the invoice's total.
        return minor_units(amount, settings.CURRENCY)
    except NotAnAmount as wrong:
        raise BadLine("price", f"UnitPrice {text}: {wrong}") from None


def customer(text: str) -> str:
    numbered = _NUMBERED_CUSTOMER.fullmatch(text)
    return numbered[1] if numbered else text
