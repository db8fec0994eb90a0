"""Who follows the event log, and how far each has come: subscriptions are owed it, up to their position."""

from datetime import datetime

from django.db import connection, transaction
from django.db.models import Subquery

from ..core import registry
from ..core.subscription import StartAt
from ..models import Event, Follower

#: Name of the lock that one relay at a time holds ("rela" in ASCII): the log has one end.
_LOCK = 0x72656C61

_NEWEST = Event.objects.exclude(log_position=None).order_by("-log_position").values_list("log_position", flat=True)


def lock_the_log(*, wait: bool) -> bool:
    """Take the lock of the log's end until the transaction is over; say whether it was to be had.

    Transaction: requires one.
    """
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            return True
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        (locked,) = cursor.fetchone() or (False,)
        return bool(locked)


def head() -> int:
    """Return the position of the newest event in the log; 0 if there is none."""
    return _NEWEST.first() or 0


def of_subscriptions(now: datetime) -> tuple[int, list[Follower]]:
    """Return the head, and a follower of each subscription this process knows, in the order of the wiring.

    A follower without a row gets one.

    Transaction: requires the one that holds the lock of the log.
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
        lock_the_log(wait=True)
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
