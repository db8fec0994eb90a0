"""Given an event, when steps return these answers, expect this ending: a whole saga, without database and broker.

The plan, the order of the undo, the handling of failures and the retries are the engine's own code; only the steps are
simulated. So a scenario tests a definition in milliseconds.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from ..core.events import DomainEvent
from ..core.ids import new_id
from ..core.saga import Call, Failure, Result, Saga, Step, StepFunction
from ..core.statuses import LIVE_RUNS, RunStatus
from ..engine.plan import plan, plan_undo
from ..engine.rules import begin_undo, expire, is_to_undo, undone_by
from ..engine.step_claim import StepClaim
from ..models import Event, StepRun

#: The answer of a simulated step: a result, None, an exception to raise, or a function of its call.
Answer = Mapping[str, Any] | BaseException | Callable[[Call[Any]], Result] | None

_BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
#: Maximum number of tries: a saga with more does not end.
_MAX_TRIES = 10_000


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a scenario ended.

    Attributes:
        status: status of the run: `completed`, `undone`, `needs_attention`.
        did: names of the calls, in order; a probe is `book-hotel?`.
        results: the results of steps, by name.
        failure: why it was undone.
        attention: why it needs a person.
        took: time from the event to the end, by the clock of the scenario.
    """

    status: str
    did: tuple[str, ...]
    results: Mapping[str, Any]
    failure: Failure | None
    attention: Failure | None
    took: timedelta


@dataclass
class Scenario:
    """One path through a saga.

    Example:
        Scenario(book_trip).given(trip_booked).when("book-hotel", HotelFull()).expect(
            "undone", did=["book-flight", "book-hotel", "cancel-flight"]
        )
    """

    saga: Saga[Any]
    _event: DomainEvent | None = None
    _answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    _durations: dict[str, timedelta] = field(default_factory=dict)

    def given(self, event: DomainEvent) -> Self:
        """Set the event that starts it."""
        self._event = event
        return self

    def when(self, name: str, *answers: Answer) -> Self:
        """Set the answers of a step, an undo (`cancel-flight`) or a probe (`book-hotel?`), in order.

        After its last answer, or without answers, a step succeeds without a result, and a probe finds no effect.

        Raises:
            LookupError: the saga has no step, undo or probe of that name.
        """
        known = self._names()
        if name not in known:
            raise LookupError(f"{self.saga.name} has no {name!r}; it has {', '.join(known)}")
        self._answers[name] += answers
        return self

    def takes(self, name: str, **time: float) -> Self:
        """Set the time that each try of a step takes, as `timedelta(**time)`."""
        self._durations[name] = timedelta(**time)
        return self

    def expect(
        self,
        status: str,
        *,
        did: Sequence[str] | None = None,
        results: Mapping[str, Any] | None = None,
        failure: str | None = None,
        attention: str | None = None,
        took_at_most: timedelta | None = None,
    ) -> Ending:
        """Run the scenario and compare; return its ending, for further assertions.

        Args:
            failure: name of the error that caused the undo; likewise `attention`.

        Raises:
            AssertionError: it ended in another way.
        """
        ending = self.walk()
        said = {"status": (status, ending.status)}
        if did is not None:
            said["did"] = (list(did), list(ending.did))  # type: ignore[assignment]
        if results is not None:
            said["results"] = (results, ending.results)  # type: ignore[assignment]
        if failure is not None:
            said["failure"] = (failure, ending.failure.error if ending.failure else "")
        if attention is not None:
            said["attention"] = (attention, ending.attention.error if ending.attention else "")
        for what, (expected, found) in said.items():
            if expected != found:
                raise AssertionError(f"{what}: expected {expected!r}, found {found!r} ({ending})")
        if took_at_most is not None and ending.took > took_at_most:
            raise AssertionError(f"it took {ending.took}, more than {took_at_most}")
        return ending

    def walk(self) -> Ending:
        """Run the scenario to its end and return the ending; pauses between tries take no time."""
        if self._event is None:
            raise LookupError("a scenario begins with an event: .given(event)")
        return _Walk(self.saga, self._event, self._answers, self._durations).to_the_end()

    def _names(self) -> list[str]:
        names = []
        for step in (*self.saga.steps, *self.saga.after_undo):
            names += [step.name, *([f"{step.name}?"] if step.probe else []), *([step.undo_name] if step.undo else [])]
        return names


class _Walk:
    """A run in memory, with simulated steps."""

    def __init__(
        self,
        saga: Saga[Any],
        event: DomainEvent,
        answers: Mapping[str, Sequence[Answer]],
        durations: Mapping[str, timedelta],
    ) -> None:
        self.did: list[str] = []
        self.answers = {name: list(given) for name, given in answers.items()}
        self.durations = durations
        self.now = _BEGIN
        self.saga = replace(
            saga,
            steps=tuple(self._played(step) for step in saga.steps),
            after_undo=tuple(self._played(step) for step in saga.after_undo),
        )
        self.run, self.rows = plan(self.saga, _stored(event, self.now), now=self.now)

    def to_the_end(self) -> Ending:
        for _ in range(_MAX_TRIES):
            if not self._one_on():
                break
        else:
            raise AssertionError(f"{self.saga.name} does not come to an end: {self.did[-20:]}")
        run = self.run
        return Ending(
            status=str(run.status),
            did=tuple(self.did),
            results=run.results,
            failure=None if run.failure is None else Failure(**run.failure),
            attention=None if run.attention is None else Failure(**run.attention),
            took=self.now - _BEGIN,
        )

    def _one_on(self) -> bool:
        """Do the engine's next step; False when nothing is left to do."""
        run = self.run
        if run.status not in LIVE_RUNS:
            return False
        row = next(row for row in self.rows if row.place == run.place)
        if run.deadline_at is not None and self.now >= run.deadline_at:
            expire(run, row, now=self.now)
        if run.attention is not None:
            run.status = RunStatus.NEEDS_ATTENTION
        elif is_to_undo(run):
            self._start_undo()
        else:
            self._try(row)
        return True

    def _start_undo(self) -> None:
        planned = plan_undo(self.saga, self.run, self.rows)
        begin_undo(self.run, self.rows, planned, now=self.now)
        self.rows += planned

    def _try(self, row: StepRun) -> None:
        claim = StepClaim.of(row, self.saga)
        claim.note_try(self.now)
        try:
            claim.keep(claim.perform(self.now))
        except Exception as error:  # noqa: BLE001 - as the engine isolates the work of others
            self.now = claim.note_failed(error, self.now).retry_at or self.now
            return
        claim.note_done(self.now)
        undone_by(row, self.rows)

    def _played(self, step: Step) -> Step:
        return replace(
            step,
            run=self._play(step.name),
            run_many=None,
            undo=None if step.undo is None else self._play(step.undo_name),
            probe=None if step.probe is None else self._play(f"{step.name}?"),
        )

    def _play(self, name: str) -> StepFunction:
        def act(call: Call[Any]) -> Result:
            self.did.append(name)
            self.now += self.durations.get(name, timedelta(0))
            waiting = self.answers.get(name)
            answer = waiting.pop(0) if waiting else None
            if isinstance(answer, BaseException):
                raise answer
            return answer(call) if callable(answer) else answer

        act.__name__ = name  # an undo is known by the name of its function
        return act


def _stored(event: DomainEvent, now: datetime) -> Event:
    return Event(
        id=new_id(),
        type=event.type,
        version=event.version,
        aggregate=event.aggregate,
        subject=event.subject_id,
        sequence=1,
        key=event.key,
        data=event.model_dump(mode="json"),
        correlation_id=new_id(),
        occurred_at=now,
    )
