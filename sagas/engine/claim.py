"""A row that a worker has claimed for one try: a step of a run, or a delivery. Nothing here reads a database."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from ..core.cause import Cause
from ..core.errors import FailureKind, NoOutcomeError, OutcomeUnknown, Retryable, TryTimedOut, WorkerLostError, kind_of
from ..core.ids import new_id
from ..core.retry import Retry
from ..core.saga import Result, Step
from ..core.subscription import Subscription
from ..db.storable import storable_result
from ..models import Delivery, StepRun
from .limits import MAX_LOST_TRIES, SUSPECT_LOST_TRIES, lease_of, limit_of


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The consequence of a failed try.

    Attributes:
        retry_at: when the next try is due; None: the work is given up.
    """

    kind: FailureKind
    retry_at: datetime | None

    @property
    def is_given_up(self) -> bool:
        return self.retry_at is None


@dataclass(eq=False, kw_only=True)
class Claim(ABC):
    """Locked by this transaction, or held by a lease.

    Note [Lease token]: a worker that calls outside holds a token, which the row stores too. It writes the outcome of
    the call only if the row still has that token, so a worker that was frozen and wakes up changes nothing.

    Attributes:
        attempt_field: the field of `Attempt` that refers to its row.
        work: the definition: the function to call, and the retry policy.
        result: the result of the work.
        tried_at: when this try began.
        asks_first: an earlier call may have taken effect: `perform` asks before it calls.
        may_call: the policy allows another call; otherwise `perform` only asks.
    """

    attempt_field: ClassVar[str]

    work: Step | Subscription
    result: Result = None
    tried_at: datetime | None = None
    asks_first: bool = False
    may_call: bool = True

    @property
    def is_given_up(self) -> bool:
        """Say whether its failure is in the journal, and its consequences have not begun."""
        return False

    @property
    @abstractmethod
    def row(self) -> StepRun | Delivery: ...

    @property
    @abstractmethod
    def id(self) -> UUID:
        """The id under which outcomes are returned."""

    @property
    @abstractmethod
    def key(self) -> str: ...

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the step or the subscription."""

    @property
    @abstractmethod
    def log_fields(self) -> dict[str, str]:
        """The fields that identify it in a line of the log, and where to look at it."""

    @property
    @abstractmethod
    def cause(self) -> Cause: ...

    @property
    @abstractmethod
    def kind(self) -> Hashable:
        """Claims of one kind are the same work: a batch contains one kind."""

    @property
    @abstractmethod
    def sent_again(self) -> bool:
        """The message of an earlier try was lost, or its worker died."""

    @property
    @abstractmethod
    def policy(self) -> Retry: ...

    @property
    @abstractmethod
    def many(self) -> Callable[[Any], Any] | None:
        """The function for many calls, if the work has one."""

    @abstractmethod
    def call(self, now: datetime) -> Any:
        """Return the argument of the work."""

    @abstractmethod
    def act(self, call: Any) -> Result:
        """Call work that is written for one call."""

    @abstractmethod
    def hold(self, until: datetime) -> None:
        """Note that a call outside is under way until its lease runs out."""

    @abstractmethod
    def note_done(self, now: datetime) -> None:
        """Set success in the row."""

    @abstractmethod
    def note_failed(self, error: Exception, now: datetime) -> Verdict:
        """Set a failed try and its consequences in the row."""

    @abstractmethod
    def note_unanswered(self, now: datetime) -> None:
        """Note that a call of a batch has no outcome; the next try, as a single call, counts."""

    @property
    def fits_a_batch(self) -> bool:
        """Say whether it may be done together with others: a first try that probably kills no worker.

        A try in a batch without an outcome is not counted, so only the first try may be in a batch.
        """
        if self.row.attempts > 0 or self.row.lost_tries >= SUSPECT_LOST_TRIES:
            return False
        return not self.work.outside or self.many is not None

    @property
    def limit_seconds(self) -> float:
        """How long this try may take."""
        return limit_of(self.work, self.policy)

    def lease(self) -> timedelta:
        return lease_of(self.work)

    def note_try(self, now: datetime) -> None:
        """Note that a try begins; one outside takes a lease."""
        self.row.attempts += 1
        self.row.started_at = self.row.started_at or now
        self.tried_at = now
        if self.work.outside:
            self.row.lease_token = new_id()
            self.hold(now + self.lease())

    def uncount_try(self) -> None:
        """Uncount a try: in a batch it had no outcome, or its neighbours used up its time."""
        self.row.attempts -= 1

    @abstractmethod
    def is_in_time(self, now: datetime) -> bool:
        """Say whether the lease still stands; after its end another worker may have taken the work over."""

    def perform(self, now: datetime, clock: Callable[[], datetime] | None = None) -> Result:
        """Do the work as a single call; outside, probe first if an earlier call may have taken effect.

        Args:
            clock: outside, to check the lease just before the call.

        Raises:
            OutcomeUnknown: the probe did not answer, or the lease ran out meanwhile.
            WorkerLostError: too many earlier tries left no trace.
            Exception: any exception of the work.
        """
        if self.row.lost_tries > MAX_LOST_TRIES:
            raise WorkerLostError(self.row.lost_tries)
        call = self.call(now)
        found = self.ask(call) if self.asks_first else None
        if found is not None:
            return found
        if self.work.outside and not self.may_call:
            raise WorkerLostError(self.row.lost_tries)
        if clock is not None and not self.is_in_time(clock()):
            raise OutcomeUnknown("the lease ran out before the call was made")
        if self.many is None:
            return self.act(call)
        outcomes = self.many([call])
        if self.id not in outcomes:
            raise NoOutcomeError(self.work.name)
        outcome: Any = outcomes[self.id]
        if isinstance(outcome, Exception):
            raise outcome
        result: Result = outcome
        return result

    def ask(self, call: Any) -> Result:  # noqa: ARG002 - a reaction has no probe
        """Return the result of an earlier call, if it took effect."""
        return None

    def keep(self, result: Result) -> None:
        """Keep the result of the work, as it will be read back from the journal.

        Raises:
            TypeError, ValueError: it is not JSON, or PostgreSQL cannot store it.
        """
        self.result = None if result is None else storable_result(result)

    def verdict(self, error: Exception, now: datetime) -> Verdict:
        """Return the kind of a failed try, and when the next try is due."""
        kind = kind_of(error, outside=self.work.outside)
        again = kind is not FailureKind.REJECTED and self.row.lost_tries <= MAX_LOST_TRIES
        if not again or not self.policy.allows(self.row.attempts):
            return Verdict(kind=kind, retry_at=None)
        asked_seconds = error.retry_after_seconds if isinstance(error, Retryable) else None
        return Verdict(kind=kind, retry_at=now + self.policy.pause(self.row.attempts, asked_seconds=asked_seconds))


def is_cut_short_by_others(error: Exception | None, claim: Claim, max_seconds: float) -> bool:
    """Say whether a try was cut short because the batch had no more time for it."""
    return isinstance(error, TryTimedOut) and max_seconds < claim.limit_seconds
