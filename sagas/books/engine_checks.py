"""Checks of the engine itself: work that is overdue."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, F, Min, QuerySet

from ..core import registry
from ..core.books import Breach, Check, Scope
from ..core.events import known_types
from ..core.statuses import LIVE_DELIVERIES, LIVE_RUNS
from ..engine.limits import MAX_RESENDS
from ..models import Delivery, Event, Run

#: A relay makes a turn each second.
_RELAYED_AFTER = timedelta(seconds=30)
#: A sweep makes a turn each second, and sets a later due date on all that it sends.
_SWEPT_AFTER = timedelta(minutes=2)
#: Longer than a deploy, or than an outage through which processes wait.
_READ_AFTER = timedelta(minutes=5)


def _events(scope: Scope) -> Iterator[Breach]:
    waiting = Event.objects.filter(log_position=None, occurred_at__lt=scope.now - _RELAYED_AFTER)
    known = set(known_types())
    for row in _grouped(waiting, "type", "occurred_at").annotate(first=Min("position")):
        why = "does the relay run?" if row["type"] in known else "this code does not know the type."
        yield Breach(
            key=row["type"],
            message=f"{_counted(row['count'], 'event')} {row['type']} not relayed, the oldest {_at(row)}: {why}",
            facts={"type": row["type"], "known_type": row["type"] in known},
            moving={"count": row["count"], "oldest_at": row["oldest"], "oldest_position": row["first"]},
        )


def _runs(scope: Scope) -> Iterator[Breach]:
    overdue = Run.objects.filter(status__in=LIVE_RUNS, due_at__lt=scope.now - _SWEPT_AFTER)
    yield from _not_swept(overdue, "run", "saga", set(registry.names()))


def _runs_not_taken(_: Scope) -> Iterator[Breach]:
    """Runs that were sent again for about an hour and made no progress."""
    stuck = Run.objects.filter(status__in=LIVE_RUNS, resends__gte=MAX_RESENDS, steps__place=F("place"))
    for row in stuck.order_by().values("saga", "steps__name").annotate(count=Count("pk"), oldest=Min("started_at")):
        yield Breach(
            key=f"{row['saga']}: {row['steps__name']}",
            message=f"{_counted(row['count'], 'run')} of {row['saga']} sent again and again to {row['steps__name']},"
            " and no worker took them: does a worker serve its queue?",
            facts={"saga": row["saga"], "step": row["steps__name"]},
            moving={"count": row["count"], "oldest_started_at": row["oldest"]},
        )


def _deliveries(scope: Scope) -> Iterator[Breach]:
    overdue = Delivery.objects.filter(status__in=LIVE_DELIVERIES, due_at__lt=scope.now - _SWEPT_AFTER)
    yield from _not_swept(overdue, "delivery", "subscription", set(registry.subscription_names()))


def _slots(scope: Scope) -> Iterator[Breach]:
    """Yield lost replication slots, and slots without a reader: PostgreSQL keeps its log for them."""
    with connection.cursor() as cursor:
        # As JSON, because older servers lack some of these columns.
        cursor.execute(
            "SELECT slot_name, slot ->> 'invalidation_reason', (slot ->> 'inactive_since')::timestamptz,"
            " pg_size_pretty(pg_current_wal_lsn() - restart_lsn)"
            " FROM pg_replication_slots AS stored, to_jsonb(stored) AS slot"
            " WHERE database = current_database() AND NOT active AND NOT temporary"
        )
        found = cursor.fetchall()
    for name, lost, since, kept in found:
        if lost:
            why = f"is lost ({lost}): drop it and start its reader anew; docs/cdc.md describes the consequences."
        elif since and since < scope.now - _READ_AFTER:
            why = "has no reader, and PostgreSQL keeps the write-ahead log for it: start its reader, or drop it."
        else:
            continue
        yield Breach(
            key=name,
            message=f"The replication slot {name} {why}",
            facts={"slot": name, "lost": lost},
            moving={"inactive_since": since and since.isoformat(), "kept": kept},
        )


def _not_swept(overdue: QuerySet[Any], what: str, of: str, known: set[str]) -> Iterator[Breach]:
    for row in _grouped(overdue, of, "due_at"):
        why = "does the sweep run?" if row[of] in known else f"this code does not know the {of}."
        are = "is" if row["count"] == 1 else "are"
        yield Breach(
            key=row[of],
            message=f"{_counted(row['count'], what)} of {row[of]} {are} not swept, the oldest due {_at(row)}: {why}",
            facts={of: row[of], f"known_{of}": row[of] in known},
            moving={"count": row["count"], "oldest_due_at": row["oldest"]},
        )


def _grouped(rows: QuerySet[Any], by: str, at: str) -> Any:
    return rows.order_by().values(by).annotate(count=Count("pk"), oldest=Min(at))


def _counted(count: int, what: str) -> str:
    many = {"delivery": "deliveries"}.get(what, f"{what}s")
    return f"{count} {what if count == 1 else many}"


def _at(row: dict[str, Any]) -> str:
    return f"since {row['oldest']:%Y-%m-%d %H:%M:%S} UTC"


CHECKS = (
    Check(
        name="events-relayed",
        look=_events,
        whole=True,
        remedy="Start the relay: beat and a worker of the queue “relay”, or `manage.py relay`.",
        remedy_page="admin:sagas_event_changelist",
    ),
    Check(
        name="runs-swept",
        look=_runs,
        whole=True,
        remedy="Start beat and a worker of the queue “relay”: the sweep sends what is due again.",
        remedy_page="admin:sagas_run_changelist",
    ),
    Check(
        name="runs-taken",
        look=_runs_not_taken,
        whole=True,
        remedy="Start a worker of the step's queue.",
        remedy_page="admin:sagas_run_changelist",
    ),
    Check(
        name="deliveries-swept",
        look=_deliveries,
        whole=True,
        remedy=(
            "Start beat and a worker of the queue “relay”: the sweep sends what is due again. If this code does not"
            " know the subscription: name it in the settings again, or skip what it is behind."
        ),
        remedy_page="admin:sagas_delivery_changelist",
    ),
    Check(
        name="slots-read",
        look=_slots,
        whole=True,
        remedy="Start the reader of the slot, or drop the slot (docs/cdc.md).",
    ),
)
