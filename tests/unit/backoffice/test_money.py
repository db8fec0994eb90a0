from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backoffice.money import (
    MAX_MINOR,
    NotAnAmount,
    UnknownCurrency,
    currency_code,
    decimals,
    formatted,
    minor_units,
    parsed,
    plain,
)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (0, "GBP", "£0.00"),
        (5, "GBP", "£0.05"),
        (-500, "GBP", "-£5.00"),
        (123450, "EUR", "€1,234.50"),
        (99, "SEK", "0.99 SEK"),
        (150000, "JPY", "150,000 JPY"),
        (12345, "KWD", "12.345 KWD"),
        (1, "CLF", "0.0001 CLF"),
        (1295, "ZZZ", "1,295 minor units of ZZZ"),
        (1295, "", "1,295 minor units of no currency"),
    ],
)
def test_money_reads_as_people_write_it(minor: int, currency: str, text: str) -> None:
    assert formatted(minor, currency) == text


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.95", "GBP", 1295),
        (" 1,234.5 ", "GBP", 123450),
        ("1500", "JPY", 1500),
        ("1,500.00", "JPY", 1500),
        ("12.345", "KWD", 12345),
        ("12,345", "KWD", 12_345_000),
        ("-1", "EUR", -100),
    ],
)
def test_what_people_type_becomes_minor_units_of_its_currency(text: str, currency: str, minor: int) -> None:
    assert parsed(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency", "why"),
    [
        ("12.345", "GBP", "An amount such as 12.95 is needed; GBP has 2 decimals."),
        ("0.5", "JPY", "An amount such as 1295 is needed; JPY has no decimals."),
        ("12.3456", "KWD", "An amount such as 12.950 is needed; KWD has 3 decimals."),
        ("12,50", "EUR", "An amount such as 12.95 is needed; EUR has 2 decimals."),
        ("1e3", "GBP", "An amount such as 12.95 is needed; GBP has 2 decimals."),
        ("", "GBP", "An amount such as 12.95 is needed; GBP has 2 decimals."),
        ("١٢", "GBP", "An amount such as 12.95 is needed; GBP has 2 decimals."),
        ("10,000,000,000.01", "GBP", "At most £10,000,000,000.00."),
    ],
)
def test_what_is_no_amount_is_refused_with_an_example(text: str, currency: str, why: str) -> None:
    with pytest.raises(NotAnAmount) as refused:
        parsed(text, currency)
    assert str(refused.value) == why


@given(st.integers(min_value=0, max_value=MAX_MINOR), st.sampled_from(["GBP", "JPY", "KWD", "CLF"]))
def test_an_amount_that_was_shown_reads_back_as_itself(minor: int, currency: str) -> None:
    assert parsed(plain(minor, currency), currency) == minor
    assert minor_units(Decimal(plain(minor, currency)), currency) == minor


@pytest.mark.parametrize(("code", "count"), [("GBP", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("CLF", 4)])
def test_decimals_are_those_of_iso_4217(code: str, count: int) -> None:
    assert decimals(code) == count


def test_a_code_is_stored_in_capitals() -> None:
    assert [currency_code(text) for text in ("GBP", "gbp", " Jpy ")] == ["GBP", "GBP", "JPY"]


@pytest.mark.parametrize("code", ["", "GB", "GBPP", "£££", "zz!", "ZZZ", "XXX", "XAU", "HRK", "\x00"])
def test_a_code_that_iso_4217_does_not_list_or_that_has_no_amounts_is_refused(code: str) -> None:
    for ask in (currency_code, decimals):
        with pytest.raises(UnknownCurrency) as refused:
            ask(code)
        assert str(refused.value) == f"{code!r} is not a currency; a code of ISO 4217 such as GBP is needed."
