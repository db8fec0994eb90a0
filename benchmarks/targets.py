"""What the shop wants to reach, and what it reached: ratios of figures of the same round."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .results import Book

#: What was measured, who, and the name of the figure.
Key = tuple[str, str, str]

_RATE = "orders a second"
_EVENTS = "events a second"
_CONFIRMED = "placed to confirmed p50 (ms)"
_POST = "POST answered p99 (ms)"
_PAGE, _PAGE_HALF = "answered p99 (ms)", "answered p50 (ms)"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A figure, or its ratio to another one, and where it should be.

    Attributes:
        against_empty: the ratio is to the same figure without a history, and there is none without one.
    """

    text: str
    figure: Key
    against: Key | None = None
    against_empty: bool = False
    at_least: float | None = None
    at_most: float | None = None

    @property
    def wanted(self) -> str:
        return f"≥ {self.at_least:,g}" if self.at_least is not None else f"≤ {self.at_most:,.3g}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a target: over all rounds, with so many orders of history."""

    target: Target
    stored: int
    median: float
    least: float
    most: float

    @property
    def reached(self) -> bool:
        if self.target.at_least is not None:
            return self.median >= self.target.at_least
        return self.median <= (self.target.at_most or 0.0)


TARGETS = (
    Target(
        text="throughput: the shop ÷ DBOS queue", figure=("throughput", "ours", _RATE),
        against=("throughput", "dbos-queue", _RATE), at_least=10,
    ),
    Target(
        text="throughput: the shop ÷ the ORM's floor", figure=("throughput", "ours", _RATE),
        against=("throughput", "orm-floor", _RATE), at_least=0.5,
    ),
    Target(
        text="latency p50: the shop ÷ DBOS started directly", figure=("latency", "ours", _CONFIRMED),
        against=("latency", "dbos-direct", _CONFIRMED), at_most=2,
    ),
    Target(
        text="POST p99: the shop ÷ synchronous", figure=("latency", "post", _POST),
        against=("latency", "post-synchronous", _POST), at_most=1 / 3,
    ),
    Target(text="relay: events that start a run, a second", figure=("relay", "starts", _EVENTS), at_least=2000),
    Target(text="relay: events delivered to one, a second", figure=("relay", "deliveries", _EVENTS), at_least=5000),
    Target(text="admin, page of an order: p99, ms", figure=("pages", "order", _PAGE), at_most=200),
    Target(text="admin, list of orders: p99, ms", figure=("pages", "orders", _PAGE), at_most=200),
    Target(
        text="throughput ÷ throughput without history", figure=("throughput", "ours", _RATE), against_empty=True,
        at_least=0.9,
    ),
    Target(
        text="page of an order, p50 ÷ without history", figure=("pages", "order", _PAGE_HALF), against_empty=True,
        at_most=1.1,
    ),
    Target(
        text="page of an order just done, p50 ÷ without history", figure=("pages", "order, just done", _PAGE_HALF),
        against_empty=True, at_most=1.1,
    ),
    Target(
        text="list of orders, p50 ÷ without history", figure=("pages", "orders", _PAGE_HALF), against_empty=True,
        at_most=1.1,
    ),
)  # fmt: skip


def results(book: Book) -> list[Result]:
    """Return what came of those targets whose figures were measured."""
    return [
        Result(target=target, stored=stored, median=statistics.median(found), least=min(found), most=max(found))
        for stored in sorted({one.stored for one in book.measured})
        for target in TARGETS
        if (found := _found(book, target, stored))
    ]


def _found(book: Book, target: Target, stored: int) -> Sequence[float]:
    mine = _by_round(book, target.figure, stored)
    if target.against_empty:
        others = _by_round(book, target.figure, 0) if stored else {}
    elif target.against is not None:
        others = _by_round(book, target.against, stored)
    else:
        return list(mine.values())
    return [value / others[number] for number, value in mine.items() if number in others]


def _by_round(book: Book, key: Key, stored: int) -> dict[int, float]:
    what, who, name = key
    return {
        one.round: one.figures[name]
        for one in book.measured
        if (one.what, one.who, one.stored) == (what, who, stored) and name in one.figures
    }
