"""`python -m benchmarks.snapshots`: from which length of a history a snapshot pays, on a database of its own.

Two subjects of each length, real events both: a credit account, whose state stays as small as it was, and an order that
is held and released again and again, whose state keeps every piece there ever was. Half a minute.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

from .__main__ import prepare_environment

LENGTHS = (5, 10, 20, 50, 100, 200, 500, 1000, 5000)
#: Number of measurements of each length and way, in turns, so that other load of the machine affects all alike.
_ROUNDS = 61
#: Events after the snapshot, where there are some: half of what is let come before the next one (`snapshots.EVERY`).
_REST = 50


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One length of one kind of state: medians in milliseconds, by way, and the size of the snapshot."""

    kind: str
    length: int
    bytes: int
    ms: Mapping[str, float]


def measure(lengths: Sequence[int] = LENGTHS, rounds: int = _ROUNDS, others: int = 200_000) -> list[Measured]:
    """Write subjects of these lengths and read each in each way; needs a database without other users."""
    _surround(others)
    subjects = [_Subject.written(kind, length) for kind in _kinds() for length in lengths]
    _settle()
    for number in range(rounds):
        for subject in subjects:
            # The long ones take long; their median needs fewer.
            if subject.length < 1000 or number % 3 == 0:
                subject.time()
    return [subject.measured() for subject in subjects]


def pays_from(measured: Sequence[Measured], kind: str, way: str) -> float | None:
    """Return the length from which on a way is quicker than reading everything, between two lengths on a line."""
    rows = [row for row in measured if row.kind == kind and way in row.ms]
    gains = [(row.length, row.ms["all"] - row.ms[way]) for row in rows]
    lost = max((place for place, (_, gain) in enumerate(gains) if gain <= 0), default=-1)
    if lost == len(gains) - 1:
        return None
    if lost < 0:
        return float(gains[0][0])
    (less, loss), (more, gain) = gains[lost], gains[lost + 1]
    return less + (more - less) * -loss / (gain - loss)


# What is measured -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Kind:
    name: str
    aggregate: str
    fold: Any
    event: Callable[[UUID, int], Any]

    def subject(self, made: UUID) -> str:
        return str(self.event(made, 0).subject_id)


def _kinds() -> Iterator[_Kind]:
    from inventory.events import Held, StockReleased, StockReserved
    from inventory.history import GOODS
    from payments.events import CreditHeld, CreditReleased
    from payments.history import ACCOUNT

    def of_credit(subject: UUID, number: int) -> CreditHeld | CreditReleased:
        event = CreditReleased if number % 2 else CreditHeld
        return event(order_id=subject, customer_email=f"{subject}@example.com", amount_minor=2000, currency="GBP")

    def of_goods(subject: UUID, number: int) -> StockReserved | StockReleased:
        event = StockReleased if number % 2 else StockReserved
        return event(order_id=subject, lines=(Held(sku="MUG-BLUE", quantity=2),))

    yield _Kind(name="stays small", aggregate="credit_account", fold=ACCOUNT, event=of_credit)
    yield _Kind(name="grows with it", aggregate="reservation", fold=GOODS, event=of_goods)


class _Subject:
    """One history, and another of the same length whose snapshot has a rest of it before it."""

    def __init__(self, kind: _Kind, length: int) -> None:
        from sagas.core.ids import new_id

        self.kind, self.length = kind, length
        self.id, self.with_rest = new_id(), new_id()
        self.times: dict[str, list[float]] = defaultdict(list)
        self.ways: dict[str, Callable[[], object]] = {"all": self.folded, "snapshot": lambda: self.kept(self.id)}
        if length > _REST:
            self.ways["rest"] = lambda: self.kept(self.with_rest)

    @classmethod
    def written(cls, kind: _Kind, length: int) -> "_Subject":
        made = cls(kind, length)
        made.emit(made.id, range(length))
        made.take(made.id)
        if "rest" in made.ways:
            made.emit(made.with_rest, range(length - _REST))
            made.take(made.with_rest)
            made.emit(made.with_rest, range(length - _REST, length))
        return made

    def emit(self, subject: UUID, numbers: range) -> None:
        from django.db import transaction

        from sagas.db import clock
        from sagas.log import outbox

        for begin in range(numbers.start, numbers.stop, 500):
            portion = range(begin, min(begin + 500, numbers.stop))
            with transaction.atomic():
                outbox.emit(*(self.kind.event(subject, number) for number in portion), now=clock.now())

    def take(self, subject: UUID) -> None:
        from sagas.log import snapshots

        snapshots.current(
            self.kind.fold,
            aggregate=self.kind.aggregate,
            subject=self.kind.subject(subject),
            every=1,
        )

    def kept(self, subject: UUID) -> Any:
        from sagas.log import snapshots

        return snapshots.state_of(self.kind.fold, aggregate=self.kind.aggregate, subject=self.kind.subject(subject))

    def folded(self) -> Any:
        from sagas.log.snapshots import Row
        from sagas.models import Event

        events = Event.objects.filter(aggregate=self.kind.aggregate, subject=self.kind.subject(self.id)).order_by(
            "sequence"
        )
        return self.kind.fold.of([Row(*row) for row in events.values_list(*Row._fields)])

    def time(self) -> None:
        for name, way in self.ways.items():
            begin = time.perf_counter()
            way()
            self.times[name].append((time.perf_counter() - begin) * 1000)

    def measured(self) -> Measured:
        state = self.folded()
        if self.kept(self.id).state != state:
            raise SystemExit("snapshots: one of them is not the fold of its events")
        return Measured(
            kind=self.kind.name,
            length=self.length,
            bytes=len(state.model_dump_json()),
            ms={name: median(each) for name, each in self.times.items()},
        )


def _surround(others: int) -> None:
    """Write events of other subjects, eight each, so that indexes are as deep as those of a shop at work."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sagas_event (id, type, version, aggregate, subject, sequence, key, data, correlation_id,
                traceparent, low_priority, occurred_at)
            SELECT gen_random_uuid(), 'others.moved', 1, 'other', n / 8, n %% 8 + 1, n / 8, '{"amount_minor": 2000}',
                gen_random_uuid(), '', false, now()
            FROM generate_series(1, %s) AS n
            """,
            [others],
        )


def _settle() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


# The table ------------------------------------------------------------------------------------------------------------


def table(measured: Sequence[Measured]) -> str:
    lines = [
        f"| state | events | all events, ms | snapshot, ms | snapshot and {_REST} events, ms | snapshot, bytes |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in measured:
        rest = f"{row.ms['rest']:.2f}" if "rest" in row.ms else "-"
        lines.append(
            f"| {row.kind} | {row.length:,} | {row.ms['all']:.2f} | {row.ms['snapshot']:.2f} | {rest} | {row.bytes:,} |"
        )
    lines.append("")
    for kind in dict.fromkeys(row.kind for row in measured):
        for way, said in (("snapshot", "a snapshot"), ("rest", f"a snapshot and {_REST} events")):
            length = pays_from(measured, kind, way)
            found = "at none of these lengths" if length is None else f"from {length:.0f} events on"
            lines.append(f"State that {kind}: {said} is quicker {found}.")
    return "\n".join(lines)


def main() -> int:
    import embedded
    from tests.chaos.folder import own_folder

    prepare_environment("snapshots")
    lock = own_folder(embedded.var())
    embedded.ensure()

    import django

    django.setup()
    from django.core.management import call_command

    with lock:
        call_command("migrate", verbosity=0)
        print(table(measure()))  # noqa: T201 - what it is called for
    return 0


if __name__ == "__main__":
    sys.exit(main())
