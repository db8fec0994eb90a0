"""A delivery, claimed by a worker for one try. Nothing here reads or writes a database."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ..core.cause import Cause
from ..core.retry import Retry
from ..core.saga import Result
from ..core.statuses import DeliveryStatus
from ..core.subscription import Received, Start, Subscription
from ..db.storable import message_of
from ..models import Delivery
from .claim import Claim, Verdict
from .limits import resend_after
from .start import start_waiting


@dataclass(eq=False, kw_only=True)
class DeliveryClaim(Claim):
    """The claim of a delivery; its row comes with the event."""

    attempt_field = "delivery"

    work: Subscription
    delivery: Delivery

    @property
    def row(self) -> Delivery:
        return self.delivery

    @property
    def id(self) -> UUID:
        return self.delivery.event.id

    @property
    def key(self) -> str:
        return self.delivery.key

    @property
    def name(self) -> str:
        return self.row.subscription

    @property
    def log_fields(self) -> dict[str, str]:
        return {"subscription": self.name, "look": f"sagas/delivery/{self.row.pk} in the admin"}

    @property
    def cause(self) -> Cause:
        event = self.delivery.event
        return Cause(
            correlation_id=event.correlation_id,
            causation_id=event.id,
            traceparent=event.traceparent,
            low_priority=event.low_priority,
        )

    @property
    def kind(self) -> Hashable:
        return self.work.name

    @property
    def sent_again(self) -> bool:
        return self.delivery.resends > 0

    @property
    def policy(self) -> Retry:
        return self.work.retry

    @property
    def many(self) -> Callable[[Any], Any] | None:
        return self.work.react_many

    def call(self, now: datetime) -> Received[Any]:
        event, replays = self.delivery.event, self.delivery.replays
        return Received(
            event=self.work.events[event.type].read(event.data, version=event.version),
            event_id=event.id,
            stored=event,
            idempotency_key=f"{event.id}:{self.work.name}{f':{replays}' if replays else ''}",
            attempt=self.delivery.attempts,
            now=now,
        )

    def act(self, call: Any) -> Result:
        if isinstance(self.work, Start):
            start_waiting(self.work.saga, call.event_id, now=call.now)
        else:
            assert self.work.react is not None  # noqa: S101 - otherwise it is written for many
            self.work.react(call)
        return None

    def keep(self, result: Result) -> None:
        """Keep nothing: the return value of a reaction is not used."""

    def hold(self, until: datetime) -> None:
        self.delivery.status, self.delivery.due_at, self.delivery.refused_at = DeliveryStatus.RUNNING, until, None

    def is_in_time(self, now: datetime) -> bool:
        return self.delivery.due_at is None or now < self.delivery.due_at

    def note_done(self, now: datetime) -> None:
        row = self.delivery
        row.resends, row.lost_tries, row.lease_token = 0, 0, None
        row.status, row.due_at, row.retry_at = DeliveryStatus.DONE, None, None
        row.finished_at, row.error = now, ""

    def note_failed(self, error: Exception, now: datetime) -> Verdict:
        row, verdict = self.delivery, self.verdict(error, now)
        row.resends, row.lost_tries, row.lease_token = 0, 0, None
        row.due_at = row.retry_at = verdict.retry_at
        row.status = DeliveryStatus.PARKED if verdict.is_given_up else DeliveryStatus.PENDING
        row.error = f"{type(error).__name__}: {message_of(error)}"
        return verdict

    def note_unanswered(self, now: datetime) -> None:
        self.uncount_try()
        self.delivery.status, self.delivery.lease_token = DeliveryStatus.PENDING, None
        self.delivery.due_at = now + resend_after(0)
