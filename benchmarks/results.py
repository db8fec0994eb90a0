"""What was measured, and what is made of it: medians with minimum and maximum."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one measurement of one round found.

    Attributes:
        stored: orders of history that were in the tables.
    """

    what: str
    who: str
    figures: dict[str, float]
    stored: int = 0
    round: int = 0


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure over all rounds."""

    what: str
    who: str
    name: str
    stored: int
    median: float
    least: float
    most: float
    rounds: int


@dataclass
class Book:
    """All measurements of a run, and the memory of all processes."""

    facts: dict[str, Any] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    #: Contender → process → most kB it ever had, in any round.
    memory: dict[str, dict[str, int]] = field(default_factory=dict)

    def remember(self, who: str, memory: dict[str, int]) -> None:
        known = self.memory.setdefault(who, {})
        for process, peak in memory.items():
            known[process] = max(known.get(process, 0), peak)

    def figures(self) -> list[Figure]:
        values: dict[tuple[str, str, str, int], list[float]] = defaultdict(list)
        for one in self.measured:
            for name, value in one.figures.items():
                values[one.what, one.who, name, one.stored].append(value)
        return [
            Figure(
                what=what, who=who, name=name, stored=stored, median=statistics.median(found), least=min(found),
                most=max(found), rounds=len(found),
            )
            for (what, who, name, stored), found in values.items()
        ]  # fmt: skip

    def document(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "facts": self.facts,
            "figures": [asdict(figure) for figure in self.figures()],
            "memory_kb": self.memory,
            "measured": [asdict(one) for one in self.measured],
        }


def percentile(values: Sequence[float], hundredth: float) -> float:
    """Return the value below which so many of a hundred lie: the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * hundredth / 100))]


def p50_and_p99(seconds: Iterable[float], name: str) -> dict[str, float]:
    """Return two figures in milliseconds."""
    values = list(seconds)
    return {f"{name} p50 (ms)": percentile(values, 50) * 1000, f"{name} p99 (ms)": percentile(values, 99) * 1000}
