"""A run and the step it stands at, taken by a worker for one try. Nothing here reads or writes a database."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..core.cause import Cause
from ..core.errors import OutcomeUnknown, Rejected, StepFailed, WorkerLostError
from ..core.ids import new_id
from ..core.saga import Call, Failure, Result, Saga, SetFunction, Step, StepFunction
from ..core.statuses import RunStatus, StepStatus
from ..db.storable import storable_result
from ..models import Run, StepRun
from .limits import lease_of, limit_of
from .plan import MAX_LOST_TRIES, SUSPECT_LOST_TRIES
from .rules import policy_of


@dataclass(eq=False)
class Claim:
    """Locked by this transaction, or held by a lease token."""

    run: Run
    row: StepRun
    saga: Saga[Any]
    step: Step
    #: An earlier call may have taken effect: ask before calling.
    asks_first: bool = False
    #: There are tries left.
    may_call: bool = True
    result: Result = None

    @classmethod
    def of(cls, run: Run, row: StepRun, saga: Saga[Any]) -> "Claim":
        """Return the claim.

        Raises:
            DefinitionError: the saga has no such step; other code planned the run.
        """
        return cls(run=run, row=row, saga=saga, step=saga.step(row.step))

    @property
    def is_given_up(self) -> bool:
        """The run waits to be turned back or handed over."""
        return bool(self.run.failure and self.run.status == RunStatus.RUNNING) or self.run.attention is not None

    @property
    def many(self) -> SetFunction | None:
        """The set-based form of what is to be done; an undo has none."""
        return self.step.many if self.row.action == StepRun.Action.RUN else None

    @property
    def fits_a_batch(self) -> bool:
        """It may be done together with others (rule 8): a first try, and nothing speaks against its success.

        Tries in a batch are not counted, so a policy allows one of them at most.
        """
        if self.is_given_up or self.row.attempts > 0 or self.row.lost_tries >= SUSPECT_LOST_TRIES:
            return False
        return not self.step.outside or (self.many is not None and self.row.status == StepStatus.PENDING)

    @property
    def limit_seconds(self) -> float:
        return limit_of(self.step, policy_of(self.step, self.row))

    @property
    def cause(self) -> Cause:
        return Cause(
            correlation_id=self.run.correlation_id,
            causation_id=self.run.event_id,
            traceparent=self.run.traceparent,
            low_priority=self.run.low_priority,
        )

    def begin(self, now: datetime) -> None:
        """Note that a try begins; one outside takes a lease: see Note [Lease token] in models.py."""
        row = self.row
        forward = row.action == StepRun.Action.RUN
        self.asks_first = self.step.outside and forward and row.status in (StepStatus.UNKNOWN, StepStatus.RUNNING)
        self.may_call = policy_of(self.step, row).allows(row.attempts)
        row.attempts += 1
        row.started_at = row.started_at or now
        if self.step.outside:
            row.status, row.lease_token = StepStatus.RUNNING, new_id()
            row.held_until = now + lease_of(self.step)
            # Never later than it is: the sweep moves on what it finds held, and an index has no work meanwhile.
            self.run.due_at = min(self.run.due_at or row.held_until, row.held_until)

    def leave_unanswered(self) -> None:
        """Note that a call in a batch may have taken effect; the try alone is the one that counts."""
        row = self.row
        row.status, row.lease_token, row.held_until = StepStatus.UNKNOWN, None, None
        row.attempts -= 1

    def is_in_time(self, now: datetime) -> bool:
        """Say whether the lease, if there is one, still stands; behind its end others may have gone on, or back."""
        return self.row.held_until is None or now < self.row.held_until

    def perform(self, now: datetime, clock: Callable[[], datetime] | None = None) -> Result:
        """Do the work; outside, ask first where an earlier call may have taken effect.

        Args:
            clock: outside, tells whether the lease still stands when the call is to be made.

        Raises:
            OutcomeUnknown: it was asked whether it took effect, and nobody said yes or no; or the lease ran out
                meanwhile.
            WorkerLostError: earlier tries left no trace, too often.
            Exception: whatever the work raises.
        """
        if self.row.lost_tries > MAX_LOST_TRIES:
            raise WorkerLostError(self.row.lost_tries)
        call = self.call(now)
        if self.asks_first and self.step.probe is not None:
            try:
                found = self.step.probe(call)
            except Rejected:
                raise
            except Exception as error:
                raise OutcomeUnknown(f"no answer to the question whether it took effect: {error}") from error
            if found is not None:
                return found
        if self.step.outside and not self.may_call:
            raise WorkerLostError(self.row.lost_tries)
        if clock is not None and not self.is_in_time(clock()):
            raise OutcomeUnknown("the lease ran out before the call was made")
        return self._action(call)

    def take(self, result: Result) -> None:
        """Keep what the step handed on, as it will be read back from the journal."""
        self.result = None if result is None else storable_result(result)

    def failed(self) -> StepFailed:
        """Return what to raise for a step that gave up."""
        failure = self.run.attention or self.run.failure or {}
        return StepFailed(str(self.run.id), self.row.name, f"{failure['error']}: {failure['message']}")

    @property
    def _action(self) -> StepFunction:
        action = self.step.undo if self.row.action == StepRun.Action.UNDO else self.step.run
        assert action is not None  # noqa: S101 - an undo row is only planned for a step with an undo
        return action

    def call(self, now: datetime) -> Call[Any]:
        """Return what the step is called with."""
        return Call(
            run_id=self.run.id,
            key=self.run.key,
            step=self.row.step,
            idempotency_key=self.row.idempotency_key,
            input=self.saga.input.read(self.run.input, version=self.run.input_version),
            results=self.run.results,
            attempt=self.row.attempts,
            now=now,
            failure=None if self.run.failure is None else Failure(**self.run.failure),
        )
