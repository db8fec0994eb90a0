"""The definition of a saga: ordered steps, each with its undo, at most one of them the pivot.

Pure: no Django, no Celery. The engine executes these definitions, the checks verify them, the diagrams show them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar
from uuid import UUID

from .errors import DefinitionError
from .events import DomainEvent
from .retry import PATIENT, Retry

Input = TypeVar("Input", bound=DomainEvent)

#: The result of a step, for later steps and for the timeline: JSON values only.
Result = Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a step or a reaction gave up; stored as JSON in `Run.failure` and `Run.attention`.

    Attributes:
        step: name of the step or the subscription that gave up; empty if the deadline passed, or if a person cancelled
            the run or had it undone.
        kind: a `FailureKind`.
        error: name of the exception class.
        message: text of the exception.
    """

    step: str
    kind: str
    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Input]):
    """The argument of a step.

    Attributes:
        id: id of the run; in choreography, id of the event that the step reacts to. Outcomes are returned under this
            id.
        key: key of the run, such as the id of a booking.
        step: name of the step; for an undo, of the step that is undone.
        idempotency_key: fixed in the journal before the first try, and the same in every try. An undo and a probe get
            the key of their step, so that they find its effect.
        input: the event that started the run, as the current code reads it.
        results: the results of the earlier steps, by the names of the steps.
        attempt: 1 for the first try.
        now: when this try began; the database's clock.
        failure: why the run is undone; None on the way forward.
    """

    id: UUID
    key: str
    step: str
    idempotency_key: str
    input: Input
    results: Mapping[str, Any]
    attempt: int
    now: datetime
    failure: Failure | None = None


StepFunction = Callable[[Call[Any]], Result]
#: The form of a step that takes many calls at once. It returns an outcome for each, by `Call.id`: the result of the
#: call, or the exception with which it failed. A failed call had no effect (outside, with `OutcomeUnknown`, it may have
#: had one). A call without an outcome is made again, as a single call.
SetFunction = Callable[[Sequence[Call[Any]]], Mapping[UUID, Result | Exception]]
Condition = Callable[[Any], bool]


@dataclass(frozen=True)
class Step:
    """A unit of work and its undo.

    *Inside* (the default): the step executes in the same transaction as its journal entry, exactly once.
    *Outside* (`outside=True`): the step calls another system in no transaction; `probe` asks that system by key whether
    an unanswered call took effect.

    A step is written in one form: `run` takes one call, `run_many` takes many and returns an outcome for each. The
    engine calls either with one run or with a batch of runs. A batch of `run` inside makes the calls one by one, each
    in a savepoint; outside, each call gets a message of its own. Where `run_many` raises, no call of it had an effect
    inside; outside, each is probed as a single call (decision 0013).

    Attributes:
        name: kebab-case, unique in its saga; with `queue` it names the Celery task.
        queue: the queue of the context that does the work: `celery worker -Q queue`.
        run: does the work of one call, and returns its result (JSON values), or raises.
        run_many: does the work of many calls, and returns an outcome for each. Outside, it waits for no slow answer.
        undo: takes the effect back; it is called too if the effect is uncertain. Required before the pivot.
        probe: outside, returns the result of an effect that happened, None of one that did not; it raises Rejected if
            the other system refused the call and will not carry it out later: the step has no effect, and no undo.
        when: a condition on the input, evaluated as the run starts; if it is false, the step is written as skipped.
        outside: it calls another system, in no transaction, and needs a `probe`.
        retry: when a failed try is made again, and how often; `undo_retry` for the undo.
        lease: how long one try outside may take before another worker takes the step over; by default the setting
            `SAGAS_LEASE_SECONDS`.
    """

    name: str
    _: KW_ONLY
    queue: str
    run: StepFunction | None = None
    run_many: SetFunction | None = None
    undo: StepFunction | None = None
    probe: StepFunction | None = None
    when: Condition | None = None
    outside: bool = False
    retry: Retry = field(default=Retry())
    undo_retry: Retry = field(default=PATIENT)
    lease: timedelta | None = None

    @property
    def task(self) -> str:
        return task_name(self.queue, self.name)

    @property
    def undo_name(self) -> str:
        return "" if self.undo is None else self.undo.__name__.replace("_", "-")

    @property
    def undo_task(self) -> str:
        return task_name(self.queue, self.undo_name)


@dataclass(frozen=True)
class Pivot(Step):
    """The step after which a run can no longer be undone: it only goes forward."""


@dataclass(frozen=True)
class Saga(Generic[Input]):
    """A business process: the steps of its plan, in order.

    Attributes:
        name: kebab-case, unique in the project; stored in every run.
        input: the event that starts it; its steps read it as `call.input`.
        steps: in the order in which a run takes them, at most one of them a `Pivot`.
        deadline: a run that has not passed its pivot after this time is undone.
        after_undo: the steps that follow once everything is undone, in this order.
    """

    name: str
    _: KW_ONLY
    input: type[Input]
    steps: tuple[Step, ...]
    after_undo: tuple[Step, ...] = ()
    deadline: timedelta | None = None

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return {step.name: step for step in (*self.steps, *self.after_undo)}

    def step(self, name: str) -> Step:
        """Return the step of that name.

        Raises:
            DefinitionError: the saga has none; the run was started by other code.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise DefinitionError(f"saga {self.name} has no step {name!r}") from None

    @cached_property
    def pivot_place(self) -> int | None:
        return next((place for place, step in enumerate(self.steps) if isinstance(step, Pivot)), None)

    @cached_property
    def definition_hash(self) -> str:
        """Changes with everything that affects an open run: names, order, kinds of steps."""
        text = "|".join(
            f"{type(step).__name__}:{step.queue}:{step.name}:{step.undo_name}:{step.outside}"
            for step in (*self.steps, *self.after_undo)
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def faults(self) -> Iterator[str]:
        """Yield the faults of the definition, one sentence each; the system checks report them."""
        if not self.steps:
            yield "it has no steps"
        yield from self._faults_of_names()
        yield from self._faults_of_direction()
        for step in (*self.steps, *self.after_undo):
            if (step.run is None) == (step.run_many is None):
                yield f"step {step.name!r} needs either run or run_many"
            if step.outside and step.probe is None:
                yield f"step {step.name!r} calls outside and has no probe to ask after a lost answer"

    def _faults_of_names(self) -> Iterator[str]:
        names = [step.name for step in (*self.steps, *self.after_undo)]
        names += [step.undo_name for step in self.steps if step.undo]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"the name {name!r} stands for more than one step or undo"

    def _faults_of_direction(self) -> Iterator[str]:
        if sum(isinstance(step, Pivot) for step in self.steps) > 1:
            yield "it has more than one pivot"
        turn = len(self.steps) if self.pivot_place is None else self.pivot_place
        for step in self.steps[:turn]:
            if step.undo is None:
                yield f"step {step.name!r} stands before the pivot and has no undo"
        for step in self.steps[turn:]:
            if step.undo is not None:
                yield f"step {step.name!r} cannot have an undo: the pivot and what follows only go forward"
        for step in self.after_undo:
            if step.undo is not None or isinstance(step, Pivot):
                yield f"step {step.name!r} follows the undo and only goes forward"


def task_name(queue: str, name: str) -> str:
    return f"{queue}.{name.replace('-', '_')}"
