"""A run and its current step, claimed by a worker for one try. Nothing here reads or writes a database."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ..core.cause import Cause
from ..core.errors import OutcomeUnknown, Rejected, StepFailed
from ..core.retry import Retry
from ..core.saga import Call, Failure, Result, Saga, Step
from ..core.statuses import RowAction, StepStatus
from ..db.storable import message_of
from ..models import Run, StepRun
from . import rules
from .claim import Claim, Verdict


@dataclass(eq=False, kw_only=True)
class StepClaim(Claim):
    """The claim of a run's step.

    Attributes:
        step_run: the row of the step; `step_run.run` is the run.
        redelivered: the broker has delivered the message before.
    """

    attempt_field = "step"

    work: Step
    saga: Saga[Any]
    step_run: StepRun
    redelivered: bool = False

    @classmethod
    def of(cls, step_run: StepRun, saga: Saga[Any], *, redelivered: bool = False) -> "StepClaim":
        """Return the claim.

        Raises:
            DefinitionError: the saga has no such step: other code planned the run.
        """
        return cls(work=saga.step(step_run.step), saga=saga, step_run=step_run, redelivered=redelivered)

    @property
    def row(self) -> StepRun:
        return self.step_run

    @property
    def run(self) -> Run:
        return self.step_run.run

    @property
    def id(self) -> UUID:
        return self.run.id

    @property
    def key(self) -> str:
        return self.run.key

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def log_fields(self) -> dict[str, str]:
        return {"step": self.name, "run": str(self.id), "look": f"manage.py sagas show {self.id}"}

    @property
    def cause(self) -> Cause:
        return Cause(
            correlation_id=self.run.correlation_id,
            causation_id=self.run.event_id,
            traceparent=self.run.traceparent,
            low_priority=self.run.low_priority,
        )

    @property
    def kind(self) -> Hashable:
        return self.saga.name, self.row.step, self.row.action

    @property
    def is_undo(self) -> bool:
        return self.row.action == RowAction.UNDO

    @property
    def sent_again(self) -> bool:
        return self.redelivered or self.run.resends > 0

    @property
    def is_given_up(self) -> bool:
        """The run waits for its undo, or for a person."""
        return rules.is_to_undo(self.run) or self.run.attention is not None

    @property
    def policy(self) -> Retry:
        return rules.policy_of(self.work, self.row)

    @property
    def many(self) -> Callable[[Any], Any] | None:
        return None if self.is_undo else self.work.run_many

    @property
    def fits_a_batch(self) -> bool:
        return super().fits_a_batch and (not self.work.outside or self.row.status == StepStatus.PENDING)

    def call(self, now: datetime) -> Call[Any]:
        return Call(
            id=self.run.id,
            key=self.run.key,
            step=self.row.step,
            idempotency_key=self.row.idempotency_key,
            input=self.saga.input.read(self.run.input, version=self.run.input_version),
            results=self.run.results,
            attempt=self.row.attempts,
            now=now,
            failure=None if self.run.failure is None else Failure(**self.run.failure),
        )

    def act(self, call: Any) -> Result:
        action = self.work.undo if self.is_undo else self.work.run
        assert action is not None  # noqa: S101 - an undo row is only planned for a step with an undo
        return action(call)

    def ask(self, call: Any) -> Result:
        """Return the result of an earlier call, if it took effect.

        Raises:
            OutcomeUnknown: the probe did not answer.
            Rejected: the other side refused the call.
        """
        if self.work.probe is None:
            return None
        try:
            return self.work.probe(call)
        except Rejected:
            raise
        except Exception as error:
            raise OutcomeUnknown(f"no answer to the question whether it took effect: {message_of(error)}") from error

    def note_try(self, now: datetime) -> None:
        unanswered = (StepStatus.UNKNOWN, StepStatus.RUNNING)
        self.may_call = self.policy.allows(self.row.attempts)
        self.asks_first = self.work.outside and not self.is_undo and self.row.status in unanswered
        super().note_try(now)

    def hold(self, until: datetime) -> None:
        self.row.status, self.row.held_until = StepStatus.RUNNING, until
        # Never moved later: the sweep moves runs that it finds held, and until then the index of due runs is not
        # written.
        self.run.due_at = min(self.run.due_at or until, until)

    def is_in_time(self, now: datetime) -> bool:
        return self.row.held_until is None or now < self.row.held_until

    def note_done(self, now: datetime) -> None:
        rules.advance(self.run, self.row, self.result, now=now)

    def note_failed(self, error: Exception, now: datetime) -> Verdict:
        verdict = self.verdict(error, now)
        rules.fail(self.run, self.row, error, verdict, asked_first=self.asks_first, now=now)
        return verdict

    def note_unanswered(self, now: datetime) -> None:  # noqa: ARG002 - the run keeps its due date
        self.uncount_try()
        self.row.status, self.row.lease_token, self.row.held_until = StepStatus.UNKNOWN, None, None

    def failure_to_raise(self) -> StepFailed:
        """Return the exception to raise for a step that was given up."""
        failure = self.run.attention or self.run.failure or {}
        return StepFailed(str(self.run.id), self.row.name, f"{failure['error']}: {failure['message']}")
