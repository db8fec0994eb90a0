"""The measurements, and their medians with minimum and maximum."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The result of one measurement in one round.

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
    #: What was measured to its end: orders of history, round, job.
    done: list[tuple[int, int, str]] = field(default_factory=list)
    #: Where the history ends in the event log, once there is one.
    history: int | None = None

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
            "done": self.done,
            "history": self.history,
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Book":
        """Return what `document` was made of."""
        return cls(
            facts=document["facts"],
            measured=[Measured(**one) for one in document["measured"]],
            memory=document["memory_kb"],
            done=[(stored, number, job) for stored, number, job in document["done"]],
            history=document["history"],
        )

    def rounds(self) -> str:
        """Say how many rounds there were, without a history and with one."""
        counts = [len({one.round for one in self.measured if bool(one.stored) == stored}) for stored in (False, True)]
        with_history = f", {counts[1]} with a history" if counts[1] not in (0, counts[0]) else ""
        return f"{counts[0]} rounds{with_history}"


def percentile(values: Sequence[float], hundredth: float) -> float:
    """Return the value below which so many of a hundred lie: the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * hundredth / 100))]


def p50_and_p99(seconds: Iterable[float], name: str) -> dict[str, float]:
    """Return two figures in milliseconds."""
    values = list(seconds)
    return {f"{name} p50 (ms)": percentile(values, 50) * 1000, f"{name} p99 (ms)": percentile(values, 99) * 1000}
