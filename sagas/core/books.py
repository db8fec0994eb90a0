"""Definitions of the reconciliation: checks of what should be true, and walks through the keys to check."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A statement that should be true and is not.

    Attributes:
        message: a sentence for people.
        facts: JSON values; the figures of both sides, and ids. With other facts it is another breach, which a dismissal
            of the first one does not cover.
        moving: JSON values that may change while the breach stays the same: counts, ages.
    """

    key: str
    message: str
    facts: dict[str, Any]
    moving: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The argument of a check: the keys of this turn, of all kinds."""

    keys: tuple[str, ...]
    now: datetime
    _loaded: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    def once(self, load: "Callable[[Scope], T]") -> T:
        """Return the value of `load`, loaded once a turn, so that checks can share it."""
        if load not in self._loaded:
            self._loaded[load] = load(self)
        return cast("T", self._loaded[load])


@dataclass(frozen=True, kw_only=True)
class Check:
    """A statement that should be true.

    `look` returns the breaches among the given keys and ignores keys of other kinds. It only reads, in sets: as many
    statements for one key as for a thousand.

    Attributes:
        name: never changes; findings are stored under it.
        whole: it checks everything in every turn, whatever the keys; for sets that a partial index keeps small.
        page: URL name of the admin's page of a key, if there is one.
        remedy: how a person repairs a breach, in a sentence or two.
        remedy_page: URL name of the admin's page for the repair, if that is not the page of the key.
    """

    name: str
    look: Callable[[Scope], Iterable[Breach]]
    whole: bool = False
    page: str = ""
    remedy: str = ""
    remedy_page: str = ""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A repeated walk through keys without new events, a slice a turn.

    `step(after, limit)` returns at most `limit` keys behind the mark `after` ("": from the start), and the new mark; ""
    at the end.
    """

    name: str
    step: Callable[[str, int], tuple[Collection[str], str]]
    limit: int = 500
