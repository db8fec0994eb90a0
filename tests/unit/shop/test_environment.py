from collections.abc import Callable

import pytest

from shop.platform import environment

NAME = "SHOP_TEST_VALUE"


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda: environment.flag(NAME, default=False), "maybe", "on or off is needed, not 'maybe'"),
        (lambda: environment.number(NAME, default=1, minimum=0.1), "x", "a number from 0.1 on is needed, not 'x'"),
        (lambda: environment.number(NAME, default=1, minimum=0.1), "-1", "a number from 0.1 on is needed, not '-1'"),
        (lambda: environment.number(NAME, default=1, minimum=0.1), "nan", "a number from 0.1 on is needed, not 'nan'"),
        (lambda: environment.whole(NAME, default=1, minimum=1), "0", "a number from 1 on is needed, not '0'"),
        (lambda: environment.whole(NAME, default=1, minimum=1), "1.5", "a whole number is needed, not 1.5"),
        (
            lambda: environment.matching(NAME, "[A-Z]{3}", "a code", default="GBP"),
            "pounds",
            "a code is needed, not 'pounds'",
        ),
        (
            lambda: environment.currency(NAME, default="GBP"),
            "zz!",
            "'zz!' is not a currency; a code of ISO 4217 such as GBP is needed.",
        ),
        *(
            (
                lambda: environment.time_zone(NAME, default="UTC"),
                none,
                f"a time zone such as UTC or Europe/London is needed, not {none!r}",
            )
            for none in ("", "London", "Europe", "europe/london", "../zoneinfo/UTC", "/etc/localtime", "BST\n")
        ),
        (
            lambda: environment.url(NAME, ("redis",), "redis://host/0"),
            "http://user:secret@host/",
            "a URL such as redis://host/0 is needed, not one that begins with 'http'",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], value: str, message: str
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(SystemExit) as refused:
        read()
    assert str(refused.value) == f"shop: {NAME}: {message}"


def test_what_is_needed_and_not_set_is_named() -> None:
    with pytest.raises(SystemExit) as refused:
        environment.required(NAME)
    assert str(refused.value) == f"shop: {NAME}: it has to be set"


def test_values_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.whole(NAME, default=7, minimum=1) == 7
    assert environment.time_zone(NAME, default="UTC") == "UTC"
    monkeypatch.setenv(NAME, "Yes")
    assert environment.flag(NAME, default=False)
    monkeypatch.setenv(NAME, "Europe/London")
    assert environment.time_zone(NAME, default="UTC") == "Europe/London"
    monkeypatch.setenv(NAME, "jpy")
    assert environment.currency(NAME, default="GBP") == "JPY"
    monkeypatch.setenv(NAME, "2.5")
    assert environment.number(NAME, default=1, minimum=0) == 2.5
