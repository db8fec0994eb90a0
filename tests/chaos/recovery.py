"""How long after each fault something moved again, and until what it hit was done; from the journal's own times."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from orders.models import Order
from sagas.models import Delivery, Event, StepRun

from .asking import CONFIRMED, Ask
from .faults import Fault


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """One kind of fault; seconds.

    Attributes:
        moved: from the fault to the first progress after it.
        ended: from the fault to the end of the last plain order that was under way when it came.
    """

    kind: str
    times: int
    moved: tuple[float, ...]
    ended: tuple[float, ...]

    @staticmethod
    def middle(seconds: Sequence[float]) -> float:
        return median(seconds) if seconds else 0.0


def recoveries(faults: Sequence[Fault], asked: Sequence[Ask]) -> list[Recovered]:
    """Return the kinds of fault in the order of their names, then all of them together."""
    # Progress is what a fault could have held up: new orders, new runs, or steps.
    placed = sorted(Order.objects.values_list("placed_at", flat=True))
    taken = Event.objects.filter(type="orders.order_placed").values_list("relayed_at", flat=True)
    started = sorted(moment for moment in taken if moment is not None)
    finished = [
        *StepRun.objects.filter(status__in=["done", "undone"]).values_list("finished_at", flat=True),
        *Delivery.objects.filter(status__in=["done", "failed"]).values_list("finished_at", flat=True),
    ]
    done = sorted(moment for moment in finished if moment is not None)
    progress = {"web": placed, "relay": started, "beat": started}
    # Orders whose own provider keeps them waiting say nothing of a fault.
    plain = [ask.key for ask in asked if ask.method == "tok_visa" and CONFIRMED in ask.outcomes]
    lives = [
        (placed_at, decided_at)
        for placed_at, decided_at in Order.objects.filter(idempotency_key__in=plain).values_list(
            "placed_at", "decided_at"
        )
        if decided_at is not None
    ]
    by_kind: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for fault in faults:
        if fault.done_at is not None:
            target = fault.kind.name.split()[1]
            measured = _moved(fault.done_at, progress.get(target, done)), _ended(fault.done_at, lives)
            by_kind[fault.kind.name].append(measured)
    kinds = [_recovered(kind, measured) for kind, measured in sorted(by_kind.items())]
    return [*kinds, _recovered("all", [one for measured in by_kind.values() for one in measured])]


def _moved(at: datetime, moments: Sequence[datetime]) -> float | None:
    place = bisect_right(moments, at)
    return (moments[place] - at).total_seconds() if place < len(moments) else None


def _ended(at: datetime, lives: Sequence[tuple[datetime, datetime]]) -> float | None:
    under_way = [decided for placed, decided in lives if placed <= at < decided]
    return (max(under_way) - at).total_seconds() if under_way else None


def _recovered(kind: str, measured: Sequence[tuple[float | None, float | None]]) -> Recovered:
    return Recovered(
        kind=kind,
        times=len(measured),
        moved=tuple(moved for moved, _ in measured if moved is not None),
        ended=tuple(ended for _, ended in measured if ended is not None),
    )
