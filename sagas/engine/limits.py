"""Time limits of tries and leases, and the time after which a lost message is sent again."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from ..conf import conf
from ..core.retry import Retry
from ..core.saga import Step
from ..core.subscription import Subscription
from ..models import Delivery, Run

T = TypeVar("T")

#: Maximum that is counted: the pause has its maximum long before.
MAX_RESENDS = 10
#: After more tries than this without a trace the engine assumes that the work itself kills its worker, and gives it up.
#: One such try proves nothing: a killed worker loses neighbours that never began, and queues may be slow.
MAX_LOST_TRIES = 5
#: After this many tries without a trace, work is no longer done in a batch: it may kill the worker of the whole batch.
#: One such try proves nothing: the message may have waited in a long queue.
SUSPECT_LOST_TRIES = 2


def resend_after(resends: int) -> timedelta:
    """Return how long to wait for progress before the next message: doubled each time, ten minutes at most.

    So a queue without a worker does not fill with copies.
    """
    return timedelta(seconds=min(600.0, conf.RESEND_AFTER_SECONDS * 2 ** min(resends, MAX_RESENDS)))


def note_resend(row: Run | Delivery, now: datetime) -> None:
    """Count that the sweep sends a row again."""
    row.resends = min(row.resends + 1, MAX_RESENDS)
    row.due_at = now + resend_after(row.resends)


def next_sweep_at(due_at: datetime | None, *, now: datetime) -> datetime:
    """Return when the sweep checks a run that has just made progress: after half of `resend_after` at the earliest.

    An earlier time that is late enough is kept: if the indexed columns stay the same, PostgreSQL updates a row within
    its page (heap-only tuple), and the update is most of the cost of a step.
    """
    longest = resend_after(0)
    if due_at is not None and now + longest / 2 <= due_at <= now + longest:
        return due_at
    return now + longest


def lease_of(work: Step | Subscription) -> timedelta:
    """Return how long one try outside may take before another worker takes the work over."""
    return timedelta(seconds=conf.LEASE_SECONDS) if work.lease is None else work.lease


def limit_of(work: Step | Subscription, policy: Retry) -> float:
    """Return how many seconds one try may take; outside, never longer than its lease."""
    limit = conf.TRY_SECONDS if policy.try_seconds is None else policy.try_seconds
    return min(limit, lease_of(work).total_seconds()) if work.outside else float(limit)


def portions(ids: Sequence[T], *, single: bool = False) -> Iterator[Sequence[T]]:
    """Yield `ids` in portions that share a message: `SAGAS_BATCH_SIZE` at most, or one each."""
    size = 1 if single else conf.BATCH_SIZE
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
