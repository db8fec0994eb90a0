"""The followers of the event log, and their positions. A subscription has deliveries for the log up to its position."""

from datetime import datetime

from django.db import transaction
from django.db.models import Subquery

from ..core import registry
from ..core.subscription import StartAt
from ..db import locks
from ..models import Event, Follower

_NEWEST = Event.objects.exclude(log_position=None).order_by("-log_position").values_list("log_position", flat=True)


def head() -> int:
    """Return the position of the newest event in the log; 0 if there is none."""
    return _NEWEST.first() or 0


def of_subscriptions(now: datetime) -> tuple[int, list[Follower]]:
    """Return the head, and the follower of each subscription this process knows, in the order of the wiring.

    A follower without a row gets one.

    Transaction: requires the transaction that holds the lock of the log.
    """
    names = registry.subscription_names()
    found = Follower.objects.annotate(head=Subquery(_NEWEST[:1])).in_bulk(names)
    if len(found) < len(names):
        create_missing(now=now)
        found = Follower.objects.annotate(head=Subquery(_NEWEST[:1])).in_bulk(names)
    end = next(iter(found.values())).head or 0 if found else head()
    return end, [found[name] for name in names]


def create_missing(*, now: datetime) -> None:
    """Create missing followers.

    A subscription starts at the head, or at 0 with `start_at=BEGINNING`; a read model at 0.

    Transaction: opens one.
    Idempotent: by name.
    """
    with transaction.atomic():
        locks.take(locks.Lock.LOG)
        end = head()
        Follower.objects.bulk_create(
            (
                Follower(name=one.name, position=end if one.start_at is StartAt.NOW else 0, began_at=now)
                for one in registry.subscriptions()
            ),
            ignore_conflicts=True,
        )
        Follower.objects.bulk_create(
            (Follower(name=one.name, position=0, began_at=now) for one in registry.read_models()), ignore_conflicts=True
        )
