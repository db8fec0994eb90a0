import pytest

from backoffice.customers import identity


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ada.l@example.com", "ada.l@example.com"),
        ("Ada.L@Example.COM", "ada.l@example.com"),
        (" ada.l@example.com ", "ada.l@example.com"),
        ("A/B@example.com", "a/b@example.com"),
        ("ada@MU\u0308LLER.example", "ada@m\u00fcller.example"),
    ],
)
def test_spellings_of_one_address_are_one_customer(typed: str, stored: str) -> None:
    assert identity(typed) == stored
    assert identity(stored) == stored


def test_two_domains_are_two_customers() -> None:
    assert identity("ada@fa\u00df.example") != identity("ada@fass.example")
