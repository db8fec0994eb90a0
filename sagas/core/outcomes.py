"""Outcomes of calls that are made together: for each a value, or the exception with which it failed."""

from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import OutcomeUnknown

T = TypeVar("T")


def only(outcomes: Mapping[Any, T | Exception]) -> T:
    """Return the only outcome.

    Raises:
        Exception: the outcome, if it is one.
        OutcomeUnknown: there is none.
    """
    if not outcomes:
        raise OutcomeUnknown("There is no outcome yet.")
    (outcome,) = outcomes.values()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
