import pytest

from shop.money import formatted


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(0, "GBP", "£0.00"), (5, "GBP", "£0.05"), (123450, "EUR", "€1,234.50"), (99, "SEK", "0.99 SEK")],
)
def test_money_reads_as_people_write_it(minor: int, currency: str, text: str) -> None:
    assert formatted(minor, currency) == text
