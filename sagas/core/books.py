"""How a check of the reconciliation is written down: what should be true, and which keys it is asked about."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Breach:
    """Something that should be true and is not.

    Attributes:
        message: one sentence for people.
        facts: JSON values; the figures of both sides, and ids. New ones make it another breach, which a dismissal
            of the old one does not cover.
        moving: JSON values that change while the breach stays the same: counts, ages.
    """

    key: str
    message: str
    facts: dict[str, Any]
    moving: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a check is called with: the keys of this turn, of every kind there is."""

    keys: tuple[str, ...]
    now: datetime
    _loaded: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    def once(self, load: "Callable[[Scope], T]") -> T:
        """Return what `load` returns, loaded once a turn, so that checks can share it."""
        if load not in self._loaded:
            self._loaded[load] = load(self)
        return cast("T", self._loaded[load])


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that should be true.

    `look` returns the breaches among the keys it is given and leaves alone keys that are not of its kind. It reads
    only, in sets: as many statements for one key as for a thousand.

    Attributes:
        name: stays the same for ever; findings are kept by it.
        whole: it looks at all there is in every turn, whatever the keys; for what an index keeps small.
        page: name of the admin's page of a key, if it has one.
        remedy: what a person does about a breach, in a sentence or two.
        remedy_page: name of the admin's page on which it is done, if that is not the page of the key.
    """

    name: str
    look: Callable[[Scope], Iterable[Breach]]
    whole: bool = False
    page: str = ""
    remedy: str = ""
    remedy_page: str = ""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A way through keys that nothing points to any more, a slice a turn, round and round.

    `step(after, limit)` returns at most `limit` keys behind the mark `after` ("" = the first), and the new mark;
    "" when it came to the end.
    """

    name: str
    step: Callable[[str, int], tuple[Collection[str], str]]
    limit: int = 500
