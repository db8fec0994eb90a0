"""Waits until all imported orders are decided, and counts them by status."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from orders import selectors as orders
from orders.selectors import Order
from sagas.operations import attention
from sagas.operations import queries as sagas

_LOOK_EVERY_SECONDS = 0.5
#: Longer than any pause between two tries of a step.
GIVE_UP_AFTER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Numbers of orders by status; orders that need a person are pending too."""

    by_status: dict[str, int]
    needing_attention: int

    @property
    def decided(self) -> int:
        return sum(self.by_status.values()) - self.by_status.get(Order.Status.PENDING, 0)

    @property
    def under_way(self) -> int:
        return self.by_status.get(Order.Status.PENDING, 0) - self.needing_attention


def tally(order_ids: Sequence[UUID]) -> Tally:
    # Only few are blocked, however many were imported.
    blocked = attention.blocked_keys()
    return Tally(
        by_status=orders.count_by_status(order_ids),
        needing_attention=len(orders.pending([order_id for order_id in order_ids if str(order_id) in blocked])),
    )


def wait(order_ids: Sequence[UUID]) -> Iterator[Tally]:
    """Yield the counts until no order is under way, or until nothing has changed for a minute."""
    moved_at, before = time.monotonic(), None
    while True:
        yield (now := tally(order_ids))
        if not now.under_way:
            return
        # Runs proceed in parallel: the first order may be decided long after its first step.
        standing = now, sagas.movement([str(order_id) for order_id in orders.pending(order_ids)])
        if standing != before:
            moved_at, before = time.monotonic(), standing
        if time.monotonic() - moved_at > GIVE_UP_AFTER_SECONDS:
            return
        time.sleep(_LOOK_EVERY_SECONDS)
