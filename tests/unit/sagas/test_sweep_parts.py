"""The parts of a sweep: each is done, whatever became of those before it."""

import pytest

from sagas.messaging.handling import _each


def test_parts_are_done_in_the_order_in_which_they_are_written() -> None:
    did: list[str] = []
    _each(lambda: did.append("runs"), lambda: did.append("deliveries"), lambda: did.append("interventions"))
    assert did == ["runs", "deliveries", "interventions"]


def test_a_part_that_fails_holds_up_no_other_and_the_first_error_is_raised_at_the_end() -> None:
    did: list[str] = []

    def fail(error: Exception) -> None:
        did.append(str(error))
        raise error

    with pytest.raises(LookupError, match="first"):
        _each(lambda: fail(LookupError("first")), lambda: fail(ValueError("second")), lambda: did.append("third"))
    assert did == ["first", "second", "third"]
