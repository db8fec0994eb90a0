"""Runs a saga once for each fault at each boundary, and checks the outcome."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..core import registry
from ..core.saga import Saga
from ..core.statuses import StepStatus
from ..log import outbox
from ..models import Run
from .boundaries import Watch, commits_watched
from .cases import Case, Variant, cases_of
from .paths import Path, paths
from .trial import Start, Trial, left_to_do
from .watched_actions import watched

#: Checks the outcome of a case; called with the key of its run.
Invariant = Callable[[str], None]


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
            if any(left_to_do()):
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
            found = [harmless, *cases_of(path, self.watch.seen)]
            yield from [case for case in found if only in str(case)]

    def run(self, case: Case) -> str:
        """Run one case and check it; return its key.

        Raises:
            CrashMatrixFailed: it failed.
        """
        trial = Trial(self.saga, self.start, self.runs, case)
        self.watch = trial.watch
        try:
            trial.run()
            for key in trial.keys:
                for invariant in self.invariants:
                    invariant(key)
        except Exception as error:
            run = Run.objects.filter(saga=self.saga.name, key=trial.key).first()
            raise CrashMatrixFailed(case, run, error) from error
        return trial.key
