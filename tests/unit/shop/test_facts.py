"""Facts of findings as people read them, however odd."""

from typing import Any

import pytest

from shop.reconciliation.facts import shown_facts


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"total_minor": 1295, "currency": "GBP"}, {"total": "£12.95", "currency": "GBP"}),
        ({"total_minor": 1500, "currency": "JPY"}, {"total": "1,500 JPY", "currency": "JPY"}),
        ({"paid_minor": {"GBP": 5, "EUR": -100}}, {"paid": "£0.05, -€1.00"}),
        ({"paid_minor": {}}, {"paid": ""}),
        ({"total_minor": 5}, {"total": "5 minor units of no currency"}),
        ({"total_minor": 5, "currency": ["GBP"]}, {"total": "5 minor units of no currency", "currency": ["GBP"]}),
        ({"total_minor": "soon", "currency": "GBP"}, {"total": "soon", "currency": "GBP"}),
        ({"total_minor": 5, "total": 9, "currency": "GBP"}, {"total_minor": "£0.05", "total": 9, "currency": "GBP"}),
        ({"lines": [1, 2]}, {"lines": [1, 2]}),
    ],
)
def test_amounts_are_shown_as_money_and_everything_else_as_it_is(facts: dict[str, Any], shown: dict[str, Any]) -> None:
    assert shown_facts(facts) == shown
