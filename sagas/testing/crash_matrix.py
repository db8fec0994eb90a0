"""Runs a saga once for each fault at each boundary, and checks the outcome."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection
from django.db.models import Max

from ..core import registry
from ..core.cause import Cause, caused_by
from ..core.events import known_types
from ..core.saga import Saga
from ..core.statuses import LIVE_DELIVERIES, LIVE_RUNS, StepStatus
from ..log import outbox
from ..models import Event, Run
from .boundaries import Boundary, Watch, WatchedBroker, commits_watched
from .broker import ErrorMessage, Killed, Message
from .clock import MovableClock
from .consistency import check, journal_of
from .paths import Path, paths
from .watched_actions import watched

#: Checks the outcome of a case; called with the key of its run.
Invariant = Callable[[str], None]
#: Starts the saga at the given time: places an order, emits the event. Called again if nothing was committed.
Start = Callable[[datetime], object]

#: Maximum number of messages, relays and sweeps in a case; a run with a few retries needs dozens.
_MAX_TURNS = 400


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


class CrashMatrixFailed(AssertionError):  # noqa: N818 - an outcome, not a bug of the kit
    """One case of the matrix failed; run only this one with `only=`."""

    def __init__(self, case: Case, run: Run | None, error: BaseException) -> None:
        self.case = case
        stands = "no run" if run is None else f"{run.status} at {run.place}, epoch {run.epoch}"
        steps = [] if run is None else [f"{row.name} {row.status}" for row in run.steps.order_by("place")]
        super().__init__(
            f"{type(error).__name__}: {error}\n  path:     {case.path}\n  boundary: {case.boundary}\n"
            f"  variant:  {case.variant}\n  run:      {stands}: {', '.join(steps)}\n"
            f'  alone:    crash_matrix(…, only="{case}")'
        )


@dataclass(kw_only=True)
class Summary:
    """The contents of a matrix; `str()` of it is a table."""

    cases: list[Case] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def boundaries(self) -> dict[str, int]:
        """The number of boundaries with a case, by path."""
        met = {(str(case.path), case.index) for case in self.cases if case.boundary is not None}
        return dict(Counter(path for path, _ in met))

    @property
    def variants(self) -> dict[str, Counter[Variant]]:
        """The number of cases, by path and variant."""
        counts: dict[str, Counter[Variant]] = {}
        for case in self.cases:
            counts.setdefault(str(case.path), Counter())[case.variant] += 1
        return counts

    def __str__(self) -> str:
        wide = max((len(path) for path in self.variants), default=0) + 2
        columns = [variant for variant in Variant if any(counts[variant] for counts in self.variants.values())]
        lines = [f"{'path':<{wide}}boundaries  " + "  ".join(columns)]
        for path, counts in self.variants.items():
            figures = "  ".join(f"{counts[variant]:>{len(variant)}}" for variant in columns)
            lines.append(f"{path:<{wide}}{self.boundaries.get(path, 0):>10}  {figures}")
        each = 1000 * self.seconds / max(len(self.cases), 1)
        return "\n".join([*lines, f"{len(self.cases)} cases in {self.seconds:.1f} s, {each:.0f} ms each"])


def crash_matrix(
    saga: Saga[Any],
    invariants: Invariant | Sequence[Invariant] = (),
    *,
    start: Start,
    runs: int = 1,
    path: str = "",
    only: str = "",
) -> Summary:
    """Run `saga` once for each case, and check the engine's promises and the caller's invariants.

    Every case has its own run, so `start` must make a new key each time. Nothing is cleared in between.

    Transaction: refuses one; in a test, ask for `transactional_db`.

    Args:
        invariants: what must hold when a run has ended; called with its key, they raise AssertionError.
        start: starts the saga at the given time.
        runs: number of runs in a case; with more than one they share batches (`SAGAS_BATCH_SIZE`), the faults are those
            of the first run, and its neighbours must not be affected.
        path: run the cases of this path, one of `paths(saga)`: each can be a test of its own, and they go side by side.
        only: run the cases whose name contains this text; a failure names its case.

    Raises:
        CrashMatrixFailed: the first case that failed.
        ValueError: nothing is called as `path` or `only` says.
    """
    began = time.perf_counter()
    checks = (invariants,) if callable(invariants) else tuple(invariants)
    summary = Summary()
    with _matrix(saga, start, checks, runs) as matrix:
        for case in matrix.cases(path, only):
            matrix.run(case)
            summary.cases.append(case)
    if not summary.cases:
        raise ValueError(f"no case is called {only or path!r}")
    summary.seconds = time.perf_counter() - began
    return summary


def crash_cases(saga: Saga[Any], *, start: Start) -> list[Case]:
    """Return every case `crash_matrix` would run. Each path is run once, without a crash, to find its boundaries."""
    with _matrix(saga, start, (), 1) as matrix:
        return list(matrix.cases())


@contextmanager
def _matrix(saga: Saga[Any], start: Start, invariants: Sequence[Invariant], runs: int) -> Iterator["_Matrix"]:
    matrix = _Matrix(saga, start, invariants, runs)
    former = outbox.set_waker(lambda: None)
    try:
        with (
            registry.current().rewired(watched(saga, lambda: matrix.watch)).active(),
            commits_watched(lambda: matrix.watch),
        ):
            if any(_left_to_do()):
                raise ValueError("the database holds unfinished work that would get into the way")
            yield matrix
    finally:
        outbox.set_waker(former)


class _Matrix:
    """One saga, and its current case."""

    def __init__(self, saga: Saga[Any], start: Start, invariants: Sequence[Invariant], runs: int) -> None:
        self.saga, self.start, self.invariants, self.runs = saga, start, invariants, runs
        self.watch = Watch()

    def cases(self, wanted: str = "", only: str = "") -> Iterator[Case]:
        """Yield each case, path by path; a path is run first without a crash, to find its boundaries."""
        skipped: set[str] = set()
        good = self.run(Case(path=Path()))
        rows = Run.objects.get(saga=self.saga.name, key=good).steps
        skipped.update(rows.filter(status=StepStatus.SKIPPED).values_list("step", flat=True))
        for path in paths(self.saga, skipped=skipped):
            if wanted not in ("", path.name):
                continue
            harmless = Case(path=path)
            self.run(harmless)
            found = [harmless, *_cases_of(path, self.watch.seen)]
            yield from [case for case in found if only in str(case)]

    def run(self, case: Case) -> str:
        """Run one case and check it; return its key.

        Raises:
            CrashMatrixFailed: it failed.
        """
        trial = _Trial(self, case)
        try:
            trial.run()
            for key in trial.keys:
                for invariant in self.invariants:
                    invariant(key)
        except Exception as error:
            run = Run.objects.filter(saga=self.saga.name, key=trial.key).first()
            raise CrashMatrixFailed(case, run, error) from error
        return trial.key


def _cases_of(path: Path, boundaries: Iterable[Boundary]) -> Iterator[Case]:
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


class _Trial:
    """The current case."""

    def __init__(self, matrix: _Matrix, case: Case) -> None:
        self.saga, self.start, self.runs, self.case = matrix.saga, matrix.start, matrix.runs, case
        self.clock = MovableClock()
        self.watch = matrix.watch = Watch(path=case.path, on_boundary=self._at)
        self.broker = WatchedBroker(self.clock, self.watch)
        self.held: list[Message] = []
        self.keys: list[str] = []
        self.came_instead: Boundary | None = None
        #: The journal and the number of messages at the time when a worker without its lease came back.
        self.stood: tuple[Any, int] | None = None

    def run(self) -> None:
        self._start()
        self._go_on()
        # The delayed message arrives after the end.
        self.broker.messages += self.held
        self._go_on()
        if self.case.boundary is not None and not self.watch.fired:
            raise AssertionError(f"the saga does not do the same twice: here came {self.came_instead}")
        for key in self.keys:
            run = Run.objects.get(saga=self.saga.name, key=key)
            path = self.case.path if key == self.key else Path()
            check(self.saga, run, path=path, acted=[acted for acted in self.watch.acted if acted.of == key])

    @property
    def key(self) -> str:
        """Key of the run with the fault."""
        return self.keys[0] if self.keys else ""

    # The parts of a case, in order.

    def _start(self) -> None:
        last = Event.objects.aggregate(last=Max("position"))["last"] or 0
        started = Event.objects.filter(position__gt=last, type=self.saga.input.type)
        for number in range(self.runs):
            for _ in range(2):  # a caller without an answer tries again if nothing was committed
                if started.count() == number:
                    self._do("start", lambda: self.start(self.clock()))
        self.keys = list(started.order_by("position").values_list("key", flat=True))
        if len(self.keys) != self.runs:
            raise AssertionError(f"start() led to no event {self.saga.input.type}")
        self.watch.victim = self.key

    def _go_on(self) -> None:
        """Work until nothing is left, and move the clock to the next due time."""
        for _ in range(_MAX_TURNS):
            if waiting := self.broker.waiting:
                self._give_out(waiting[0])
                continue
            is_to_relay, due = _left_to_do()
            if is_to_relay:
                self._do("relay", self.broker.relay)
            elif due is not None:
                self.clock.time = max(self.clock.time, due)
                self._do("sweep", self.broker.sweep)
            else:
                return
        raise AssertionError(f"it does not end: after {_MAX_TURNS} turns there is still something to do")

    def _give_out(self, message: Message) -> None:
        self._do(str(message).partition(".")[2].replace("_", "-"), lambda: self.broker.deliver(message), message)
        if self.stood is not None and not message.in_hand:
            stood, self.stood = self.stood, None
            if stood != self._standing():
                raise AssertionError("a worker whose lease had run out changed the journal, or sent a message")

    def _do(self, label: str, work: Callable[[], object], message: Message | None = None) -> None:
        try:
            phase = "" if message is None or isinstance(message.body, ErrorMessage) else "claim"
            with self.watch.handling(label, phase=phase, has_message=message is not None):
                work()
        except Killed:
            self.watch.dead = False
            if message is not None and self.case.variant is Variant.CRASH_AND_LOST:
                self.broker.drop(message)

    # The faults.

    def _at(self, boundary: Boundary) -> None:
        if len(self.watch.seen) - 1 != self.case.index:
            return
        if str(boundary) != str(self.case.boundary):
            # Not raised here: the engine would treat it as a failure of the step.
            self.came_instead = boundary
            return
        self.watch.fired = True
        match self.case.variant:
            case Variant.CRASH | Variant.CRASH_AND_BACK | Variant.CRASH_AND_LOST:
                self.watch.kill()
            case Variant.DOUBLED:
                self.broker.fate = lambda message: self.broker.messages.append(Message(message.body))
            case Variant.LOST:
                self.broker.fate = self.broker.drop
            case Variant.LATE:
                self.broker.fate = self._hold
            case Variant.LEASE:
                self._be_overtaken()

    def _hold(self, message: Message) -> None:
        self.broker.drop(message)
        self.held.append(message)

    def _be_overtaken(self) -> None:
        """Let the lease expire and other workers finish the work, before this worker continues."""
        with caused_by(Cause()):
            self._go_on()
        self.stood = self._standing()

    def _standing(self) -> tuple[Any, int]:
        return [journal_of(key) for key in self.keys], self.broker.published


#: Executed after each part of a case: one statement, which Django need not compile.
_LEFT_TO_DO = """
    SELECT
        EXISTS (SELECT FROM sagas_event WHERE log_position IS NULL AND type = ANY(%s)),
        LEAST(
            (SELECT min(due_at) FROM sagas_run WHERE status = ANY(%s)),
            (SELECT min(due_at) FROM sagas_delivery WHERE status = ANY(%s))
        )
"""


def _left_to_do() -> tuple[bool, datetime | None]:
    """Say whether there are events to relay, and when the next run or delivery is due."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT_TO_DO, [list(known_types()), [*map(str, LIVE_RUNS)], [*map(str, LIVE_DELIVERIES)]])
        answer: tuple[bool, datetime | None] = cursor.fetchone()
    return answer
