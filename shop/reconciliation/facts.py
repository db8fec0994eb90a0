"""Facts of findings as people read them."""

from collections.abc import Mapping
from typing import Any

from backoffice.money import formatted


def shown_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with amounts as money: `{"total": "£12.95"}` for `{"total_minor": 1295}` and GBP.

    An amount is an integer in minor units of the fact `currency`, or such integers by currency.
    """
    currency = facts.get("currency")
    shown: dict[str, Any] = {}
    for name, value in facts.items():
        plain = name.removesuffix("_minor")
        if plain == name:
            shown[name] = value
        else:
            shown[name if plain in facts else plain] = _amounts(value, currency if isinstance(currency, str) else "")
    return shown


def _amounts(value: Any, currency: str) -> Any:
    if isinstance(value, dict):
        return ", ".join(str(_amounts(minor, code)) for code, minor in value.items())
    return formatted(value, currency) if isinstance(value, int) else value
