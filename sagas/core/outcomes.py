"""Outcomes of work that is done for many at once: a value each, or the exception that it failed with."""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def only(outcomes: Mapping[Any, T | Exception]) -> T:
    """Return the only outcome.

    Raises:
        Exception: the outcome, if it is one.
    """
    (outcome,) = outcomes.values()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
