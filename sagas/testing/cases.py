"""The cases of a crash matrix: each fault at each boundary of a path."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from .boundaries import Boundary
from .paths import Path


class Variant(StrEnum):
    """The fault at a boundary."""

    NOTHING = "nothing"
    CRASH = "crash"  #: of work without a message: the start, the relay, the sweep
    CRASH_AND_BACK = "crash, the message comes back"
    CRASH_AND_LOST = "crash, the message is lost"
    DOUBLED = "the message is doubled"
    LOST = "the message is lost"
    LATE = "the message is held back"
    LEASE = "the lease runs out"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run of the saga: a fault at a boundary of a path."""

    path: Path
    variant: Variant = Variant.NOTHING
    boundary: Boundary | None = None
    #: Index of the boundary in its path, from 0.
    index: int = -1

    def __str__(self) -> str:
        at = "" if self.boundary is None else f" | {self.boundary}"
        return f"{self.path}{at} | {self.variant}"


def cases_of(path: Path, boundaries: Iterable[Boundary]) -> Iterator[Case]:
    for index, boundary in enumerate(boundaries):
        for variant in _variants_at(boundary):
            yield Case(path=path, boundary=boundary, index=index, variant=variant)


def _variants_at(boundary: Boundary) -> Iterator[Variant]:
    if not boundary.same_as_last:
        yield from (Variant.CRASH_AND_BACK, Variant.CRASH_AND_LOST) if boundary.has_message else (Variant.CRASH,)
    if boundary.what == "publish" and boundary.when == "before":
        yield from (Variant.DOUBLED, Variant.LOST, Variant.LATE)
    if boundary.leased:
        yield Variant.LEASE
