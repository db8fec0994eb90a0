"""Deliveries: events owed to subscriptions, delivered in order per key until each is done or parked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Exists, F

from ..core import registry
from ..core.cause import caused_by
from ..core.errors import WorkerLostError
from ..core.saga import Failure
from ..core.statuses import LIVE_DELIVERIES, SETTLED_DELIVERIES, DeliveryStatus
from ..db.constraints import check_constraints
from ..db.rows import update_all
from ..db.storable import message_of
from ..db.time_limit import time_limit
from ..models import Delivery
from . import shares
from .claim import Verdict
from .delivery_claim import DeliveryClaim
from .delivery_rows import heads_of, paused, ready
from .limits import MAX_LOST_TRIES, note_resend, resend_after
from .tries import Taken, Work, take
from .wake_ups import DeliveryWakeUp, delivery_wake_ups_of

logger = structlog.get_logger(__name__)


def deliver(*, delivery_ids: Sequence[int], clock: Callable[[], datetime]) -> list[DeliveryWakeUp]:
    """Execute the reactions of the given deliveries that are due; return the messages to send afterwards.

    These carry the next deliveries of the same keys, and, each alone, the deliveries of a batch without an outcome.

    Transaction: refuses one; opens its own.
    Idempotent: by delivery; an outside reaction may run again after a crash and is idempotent by its own key.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    taken = take(_DeliveryWork(delivery_ids=delivery_ids), clock)
    left = [claim.delivery for claim in taken.left]
    return [*delivery_wake_ups_of(left, single=True), *delivery_wake_ups_of(_behind(taken, clock()))]


def _behind(taken: Taken[DeliveryClaim], now: datetime) -> list[Delivery]:
    """Return the deliveries that waited for the claimed ones: behind them in line, or for their share of workers."""
    tried = {claim.work.name: claim.work for claim in taken.all if claim.tried_at is not None and claim.work.outside}
    over = [claim for claim in (*taken.done, *taken.failed) if claim.delivery.status in SETTLED_DELIVERIES]
    in_line = _next_in_line([claim.delivery for claim in over])
    return in_line + shares.next_of(
        tried.values(),
        succeeded={claim.work.name for claim in over},
        left_out=[claim.delivery.pk for claim in taken.left] + [delivery.pk for delivery in in_line],
        now=now,
    )


@dataclass(frozen=True, kw_only=True)
class _DeliveryWork(Work[DeliveryClaim]):
    delivery_ids: Sequence[int]

    @property
    def is_batch(self) -> bool:
        return len(self.delivery_ids) > 1

    def claim(self, now: datetime) -> list[DeliveryClaim]:
        heads = list(ready(Delivery.objects.claimed().select_related("event").filter(pk__in=self.delivery_ids), now))
        works = {name: registry.subscription(name) for name in sorted({delivery.subscription for delivery in heads})}
        full = {name for name, work in works.items() if work is not None and shares.is_full(work, now)}
        shares.refuse([delivery for delivery in heads if delivery.subscription in full], now)
        return [
            DeliveryClaim(work=work, delivery=delivery)
            for delivery in heads
            if (work := works[delivery.subscription]) is not None and work.name not in full
        ]

    def count_lost(self, claims: Sequence[DeliveryClaim]) -> None:
        Delivery.objects.filter(pk__in=[claim.row.pk for claim in claims]).update(lost_tries=F("lost_tries") + 1)

    def save_leases(self, claims: Sequence[DeliveryClaim]) -> None:
        for claim in claims:
            claim.row.lease_token = claims[0].row.lease_token  # one a message: Note [Share]
        self.save(claims)

    def held(self, claims: Sequence[DeliveryClaim]) -> list[DeliveryClaim]:
        rows = Delivery.objects.locked().filter(pk__in=[claim.row.pk for claim in claims])
        tokens = dict(rows.values_list("pk", "lease_token"))
        return [claim for claim in claims if tokens.get(claim.row.pk) == claim.row.lease_token]

    def save(self, claims: Sequence[DeliveryClaim]) -> None:
        update_all([claim.row for claim in claims], _FIELDS)

    def give_up(self, claim: DeliveryClaim, error: Exception, verdict: Verdict, now: datetime) -> None:
        """Run the subscription's `on_give_up` and close the delivery as failed; if that raises, leave it parked.

        After as many lost tries again `on_give_up` itself kills its worker, and is left out.
        """
        kills_its_worker = isinstance(error, WorkerLostError) and error.tries > 2 * MAX_LOST_TRIES
        if claim.work.on_give_up is None or kills_its_worker:
            return
        failure = Failure(
            step=claim.work.name, kind=verdict.kind, error=type(error).__name__, message=message_of(error)
        )
        try:
            with caused_by(claim.cause), transaction.atomic(), time_limit(claim.limit_seconds):
                claim.work.on_give_up(claim.call(now), failure)
                check_constraints()
        except Exception as raised:  # isolated like any other reaction
            logger.exception("on_give_up_failed", subscription=claim.work.name, delivery=claim.row.pk)
            claim.row.error += f"; and then {type(raised).__name__}: {message_of(raised)}"
        else:
            claim.row.status, claim.row.finished_at = DeliveryStatus.FAILED, now


_FIELDS = (
    "status", "attempts", "lost_tries", "due_at", "retry_at", "refused_at", "resends", "lease_token", "error",
    "started_at", "finished_at",
)  # fmt: skip


def _next_in_line(finished: Sequence[Delivery]) -> list[Delivery]:
    """Return the first delivery of each line behind the finished ones."""
    if not finished:
        return []
    return heads_of({delivery.subscription for delivery in finished}, {delivery.key for delivery in finished})


def send_again(parked: Sequence[Delivery], *, now: datetime) -> list[DeliveryWakeUp]:
    """Make parked deliveries pending, with all their tries; return the messages to send.

    Transaction: requires the transaction that has locked them.
    """
    for delivery in parked:
        delivery.status, delivery.attempts, delivery.lost_tries, delivery.resends = DeliveryStatus.PENDING, 0, 0, 0
        delivery.due_at, delivery.retry_at = now + resend_after(0), None
    update_all(parked, ("status", "attempts", "lost_tries", "resends", "due_at", "retry_at"))
    return delivery_wake_ups_of(parked)


def skip_deliveries(parked: Sequence[Delivery], *, now: datetime) -> list[DeliveryWakeUp]:
    """Skip parked deliveries; return the messages for those in line behind them.

    Transaction: requires the transaction that has locked them.
    """
    for delivery in parked:
        delivery.status, delivery.finished_at = DeliveryStatus.SKIPPED, now
    update_all(parked, ("status", "finished_at"))
    return delivery_wake_ups_of(_next_in_line(parked))


def sweep_deliveries(*, now: datetime, limit: int) -> list[DeliveryWakeUp]:
    """Send deliveries again that are due, or whose message was lost.

    Transaction: opens one.
    """
    with transaction.atomic():
        due = list(
            Delivery.objects.filter(
                ~Exists(paused()),
                status__in=LIVE_DELIVERIES,
                due_at__lte=now,
                subscription__in=registry.subscription_names(),
            )
            .order_by("due_at")
            .select_for_update(no_key=True, skip_locked=True, of=("self",))[:limit]
        )
        for delivery in due:
            note_resend(delivery, now)
            # An expired lease is void: its worker may no longer write the outcome of the call.
            delivery.status, delivery.lease_token = DeliveryStatus.PENDING, None
        update_all(due, ("due_at", "resends", "status", "lease_token"))
    return delivery_wake_ups_of(due)
