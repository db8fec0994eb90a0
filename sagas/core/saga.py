"""How a saga is written down: ordered steps, each with its undo, at most one of them the pivot.

Pure: no Django, no Celery. The engine walks these definitions, the checks judge them, the diagrams are drawn from them.
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

#: What a step hands to later steps and to the timeline: JSON values only.
Result = Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run turned back."""

    step: str
    kind: str
    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Input]):
    """What a step is called with.

    `idempotency_key` is fixed in the journal before the first try and the same in every try; an undo and its probe
    get the key of the step they belong to, so that they find the same effect.
    """

    run_id: UUID
    key: str
    step: str
    idempotency_key: str
    input: Input
    results: Mapping[str, Any]
    attempt: int
    now: datetime
    failure: Failure | None = None


Action = Callable[[Call[Any]], Result]
#: The set-based form of an action: the results of the calls it surely did, by run; the others leave the batch.
SetFunction = Callable[[Sequence[Call[Any]]], Mapping[UUID, Result]]
Condition = Callable[[Any], bool]


@dataclass(frozen=True)
class Step:
    """A unit of work and its undo.

    *Inside* (the default): `run` executes in the same transaction as its journal entry, exactly once.
    *Outside* (`outside=True`): `run` calls another system in no transaction; `probe` asks that system by key whether
    an unanswered call took effect, and returns its result, or None if it did not.

    A batch of runs is done by `many`, where there is one, and it only ever succeeds (rule 8): runs that `many` does not
    name are sent alone. Where it raises, inside, each run is done in a savepoint; outside, each is asked about alone. A
    `many` outside waits for no slow answer.

    Args:
        name: kebab-case, unique in its saga; with `queue` it names the Celery task.
        queue: the context that does the work: `celery worker -Q queue`.
        when: judged on the input as the run starts; a step it denies is written as skipped.
        lease: how long one try of an outside call may take before somebody else looks after it; the setting
            `SAGAS_LEASE_SECONDS` unless told otherwise.
    """

    name: str
    _: KW_ONLY
    queue: str
    run: Action
    many: SetFunction | None = None
    undo: Action | None = None
    probe: Action | None = None
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
    """The step after which a run only goes forward."""


@dataclass(frozen=True)
class Saga(Generic[Input]):
    """A business process.

    Args:
        name: kebab-case, unique in the project; stored in every run.
        input: the event that starts it, and what its steps find in `call.input`.
        deadline: a run that has not passed its pivot by then is undone.
        undone: what is still to do once everything is undone, in this order.
    """

    name: str
    _: KW_ONLY
    input: type[Input]
    steps: tuple[Step, ...]
    undone: tuple[Step, ...] = ()
    deadline: timedelta | None = None

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return {step.name: step for step in (*self.steps, *self.undone)}

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
        """Changes when a run under way could notice: names, order, kinds of steps."""
        text = "|".join(
            f"{type(step).__name__}:{step.queue}:{step.name}:{step.undo_name}:{step.outside}"
            for step in (*self.steps, *self.undone)
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the definition, one sentence each; the system checks report them."""
        if not self.steps:
            yield "it has no steps"
        yield from self._faults_of_names()
        yield from self._faults_of_direction()
        for step in (*self.steps, *self.undone):
            if step.outside and step.probe is None:
                yield f"step {step.name!r} calls outside and has no probe to ask after a lost answer"

    def _faults_of_names(self) -> Iterator[str]:
        names = [step.name for step in (*self.steps, *self.undone)]
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
        for step in self.undone:
            if step.undo is not None or isinstance(step, Pivot):
                yield f"step {step.name!r} follows the undo and only goes forward"


def task_name(queue: str, name: str) -> str:
    return f"{queue}.{name.replace('-', '_')}"
