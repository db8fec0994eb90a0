"""A subscription's share of the workers: `Subscription.at_once`.

Note [Share]: a message is refused if the maximum of its subscription's messages is under way; its deliveries note that.
The worker that ends one of them sends refused deliveries again: a batch after a success, one delivery after a failure,
so that a failing receiver has no more messages. When that worker dies, the sweep sends them.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import takewhile

from ..conf import conf
from ..core.statuses import DeliveryStatus
from ..core.subscription import Subscription
from ..db import locks
from ..models import Delivery
from .delivery_rows import ready

#: A claim takes milliseconds; one that takes longer belongs to a worker that froze.
_CLAIM_SECONDS = 1.0


def is_full(subscription: Subscription, now: datetime) -> bool:
    """Say whether the share of a subscription is used up. Claims of the subscription wait for each other's commit.

    Transaction: requires the transaction that claims.
    """
    if subscription.at_once is None:
        return False
    locks.take(f"share of {subscription.name}")
    under_way = Delivery.objects.filter(subscription=subscription.name, status=DeliveryStatus.RUNNING, due_at__gt=now)
    # The deliveries of one message share their lease token.
    return under_way.values("lease_token").distinct().count() >= subscription.at_once


def refuse(deliveries: Sequence[Delivery], now: datetime) -> None:
    """Note that their message was refused. Note [Share].

    Transaction: requires the transaction that has locked them.
    """
    if deliveries:
        Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries]).update(refused_at=now)


def next_of(
    tried: Iterable[Subscription], *, succeeded: Collection[str], left_out: Collection[int], now: datetime
) -> list[Delivery]:
    """Return deliveries to send again that were refused while these were tried. Note [Share].

    Transaction: call it in none; the tries are committed.

    Args:
        succeeded: names of the subscriptions with a successful delivery.
        left_out: primary keys of deliveries that are sent anyway.
    """
    found: list[Delivery] = []
    for subscription in tried:
        if subscription.at_once is not None:
            limit = conf.BATCH_SIZE if subscription.name in succeeded else 1
            refused = Delivery.objects.filter(subscription=subscription.name, refused_at__isnull=False)
            # A refusal that is not committed yet still counted this worker. The sweep finds one that takes longer.
            locks.wait_until_free(f"share of {subscription.name}", seconds=_CLAIM_SECONDS)
            waiting = list(ready(refused, now).exclude(pk__in=left_out).order_by("refused_at")[:limit])
            # A try that is not the first is a single call.
            found += list(takewhile(lambda delivery: delivery.started_at is None, waiting)) or waiting[:1]
    return found
