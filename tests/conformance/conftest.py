"""A trip of four bookings, whose effects are rows of a store beside the journal, as a real system's are."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import connection, transaction

from sagas.core.events import DomainEvent
from sagas.core.registry import Registry
from sagas.core.retry import Retry
from sagas.core.saga import Call, Result, Saga, Step
from sagas.core.subscription import starts
from sagas.log import outbox
from sagas.models import Run
from sagas.testing import Broker, MovableClock


class TripWanted(DomainEvent):
    type: ClassVar[str] = "tests.trip_wanted"
    aggregate: ClassVar[str] = "trip"

    trip: str

    @property
    def subject_id(self) -> str:
        return self.trip


class Store:
    """Rows (key, what) written in the transaction of whoever works: an effect, once for its key.

    Attributes:
        tries: what was called, in order, with or without success.
        says: errors to raise, in turn, by the name of what is called; `after` the effect or before it.
    """

    def __init__(self) -> None:
        self.tries: list[str] = []
        self.says: dict[str, list[BaseException]] = {}
        self.after: dict[str, list[BaseException]] = {}
        self.hooks: dict[str, Callable[[], None]] = {}

    def step(self, name: str) -> Callable[[Call[TripWanted]], Result]:
        def act(call: Call[TripWanted]) -> Result:
            self.tries.append(name)
            self._raise(self.says, name)
            with connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO trips (key, what) VALUES (%s, %s) ON CONFLICT (key, what) DO UPDATE SET"
                    " times = trips.times + CASE WHEN trips.key = EXCLUDED.key THEN 0 ELSE 1 END",
                    [call.idempotency_key, name],
                )
            if name in self.hooks:
                self.hooks.pop(name)()
            self._raise(self.after, name)
            return {"by": name}

        act.__name__ = name.replace("-", "_")
        return act

    def probe(self, name: str) -> Callable[[Call[TripWanted]], Result]:
        def ask(call: Call[TripWanted]) -> Result:
            self.tries.append(f"{name}?")
            return {"by": name} if (call.idempotency_key, name) in self._rows() else None

        return ask

    @staticmethod
    def _raise(errors: dict[str, list[BaseException]], name: str) -> None:
        if errors.get(name):
            raise errors[name].pop(0)

    @staticmethod
    def _rows() -> list[tuple[str, str]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT key, what FROM trips ORDER BY id")
            return [(key, what) for key, what in cursor.fetchall()]

    @property
    def effects(self) -> list[str]:
        """What took effect, oldest first."""
        return [what for _, what in self._rows()]


FORWARD = ["reserve-flight", "reserve-hotel", "charge-card", "send-confirmation"]
TWICE = Retry(attempts=2, base_seconds=5, cap_seconds=5)


@pytest.fixture
def store(transactional_db: None) -> Iterator[Store]:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE trips (id bigint GENERATED ALWAYS AS IDENTITY, key text, what text, times int DEFAULT 1,"
            " UNIQUE (key, what))"
        )
    yield Store()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE trips")


@pytest.fixture
def saga(store: Store) -> Iterator[Saga[TripWanted]]:
    def booking(name: str, undo: str, **more: Any) -> Step:
        return Step(
            name, queue="sagas", run=store.step(name), undo=store.step(undo), retry=TWICE, undo_retry=TWICE, **more
        )

    saga = Saga(
        "book-trip",
        input=TripWanted,
        deadline=timedelta(hours=1),
        steps=(
            booking("reserve-flight", "cancel-flight"),
            booking("reserve-hotel", "cancel-hotel"),
            booking("charge-card", "refund-card", outside=True, probe=store.probe("charge-card")),
            booking("send-confirmation", "withdraw-confirmation"),
        ),
    )
    with Registry([starts(saga)]).active():
        yield saga


@pytest.fixture
def broker(saga: Saga[TripWanted], clock: MovableClock) -> Broker:
    return Broker(clock)


@pytest.fixture
def want(saga: Saga[TripWanted], clock: MovableClock) -> Callable[..., None]:
    def want(trip: str = "t") -> None:
        with transaction.atomic():
            outbox.emit(TripWanted(trip=trip), now=clock())

    return want


def settle(broker: Broker, clock: MovableClock, *, turns: int = 20) -> None:
    """Let relay, sweep and workers do their work until every run has ended or stands still."""
    for _ in range(turns):
        broker.relay()
        broker.sweep()
        broker.work_off()
        clock.move(seconds=30)


def run_of(trip: str = "t") -> Run:
    return Run.objects.get(key=trip)


def statuses(trip: str = "t") -> dict[str, str]:
    return dict(run_of(trip).steps.order_by("place").values_list("name", "status"))
