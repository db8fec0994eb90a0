"""The order of entries: by time, but no entry comes before its cause.

The clocks of processes differ by some milliseconds, and a relay reads its clock before the events; so an effect may
have an earlier time than its event.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .entries import Entry


@dataclass(eq=False, kw_only=True)
class Placed:
    """An entry and its causes.

    Attributes:
        rank: order among entries of one moment, the smaller first.
        after: entries that come before it, whatever their times.
    """

    entry: Entry
    rank: int
    after: list["Placed"] = field(default_factory=list)


def in_order(placed: Iterable[Placed]) -> list[Entry]:
    """Return the entries, causes first; one that claims to be earlier than its cause gets the moment of its cause."""
    everything = list(placed)
    left = {id(each): len(each.after) for each in everything}
    behind: dict[int, list[tuple[int, Placed]]] = {id(each): [] for each in everything}
    for number, each in enumerate(everything):
        for cause in each.after:
            behind[id(cause)].append((number, each))
    ready = [_item(number, each) for number, each in enumerate(everything) if not each.after]
    heapq.heapify(ready)
    ordered: list[Entry] = []
    while ready:
        *_, each = heapq.heappop(ready)
        at = max(each.entry.at, ordered[-1].at) if ordered else each.entry.at
        ordered.append(replace(each.entry, at=at))
        for number, next_ in behind[id(each)]:
            left[id(next_)] -= 1
            if not left[id(next_)]:
                heapq.heappush(ready, _item(number, next_))
    return ordered


def _item(number: int, each: Placed) -> tuple[object, int, int, Placed]:
    return each.entry.at, each.rank, number, each
