"""The first page of the admin: the figures of the day, and what waits for a person."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from backoffice.moments import midnight
from orders import selectors as orders
from sagas.admin.buttons import may_see_queue
from sagas.db import clock
from sagas.operations import attention, heartbeats
from sagas.operations import queries as sagas

from ..reconciliation import LATE_SECONDS
from .timeline_lines import span


def dashboard(request: Any, context: dict[str, Any]) -> dict[str, Any]:
    """Add the figures of the day, each with a link to its list, for users who may see orders."""
    if request.user.has_perm("orders.view_order"):
        now = clock.now()
        context |= {"figures": [*_orders_today(now), *_work_queue(request)], "now": now, "zone": settings.TIME_ZONE}
    return context


def _orders_today(now: datetime) -> list[dict[str, Any]]:
    today = midnight(now)
    counts = orders.placed_by_status(since=today)
    # In the form of the list's filter by day, so that the list shows "Today" as selected.
    start = timezone.localtime(today)
    placed = {"placed_at__gte": str(start), "placed_at__lt": str(start + timedelta(days=1))}
    url = reverse("admin:orders_order_changelist")
    return [
        {
            "name": f"{status} today",
            "value": counts.get(status, 0),
            "status": status,
            "url": f"{url}?{urlencode({'status__exact': status, **placed})}",
        }
        for status in ("confirmed", "pending", "rejected", "cancelled")
    ]


def _work_queue(request: Any) -> list[dict[str, Any]]:
    now = clock.now()
    waiting, parked = len(attention.keys(now=now)), sagas.parked()
    silent, lag_seconds = heartbeats.silent(now=now), sagas.lag_seconds(now=now)
    findings, checked = sagas.open_findings(), sagas.reconciled_seconds_ago(now=now)
    late = checked is None or checked > LATE_SECONDS
    queue, listed = reverse("admin:sagas_queue"), reverse("admin:orders_order_changelist")
    may_act = may_see_queue(request)
    return [
        {
            "name": "orders need a person",
            "value": waiting,
            "status": "needs_attention" if waiting else "done",
            "url": queue if may_act else f"{listed}?attention=yes",
        },
        {
            "name": _silence(silent, now),
            "value": len(silent),
            "status": "needs_attention" if silent else "done",
            "url": queue if may_act else f"{listed}?attention=yes",
        },
        {
            "name": f"books that do not balance, checked {_ago(checked)}",
            "value": findings,
            "status": "needs_attention" if findings else "waiting" if late else "done",
            "url": reverse("admin:sagas_finding_changelist"),
        },
        {
            "name": "parked deliveries",
            "value": parked,
            "status": "parked" if parked else "done",
            "url": f"{queue}?kind=delivery" if may_act else f"{listed}?attention=yes",
        },
        {
            "name": "oldest event the relay has yet to take",
            "value": span(timedelta(seconds=lag_seconds)) if lag_seconds else "none",
            "status": "waiting" if lag_seconds > 10 else "done",
            "url": reverse("admin:sagas_event_changelist") + "?relayed=no",
        },
    ]


def _silence(silent: dict[str, datetime], now: datetime) -> str:
    """Return the label of the workers' figure: the queues without a worker, and since when."""
    if not silent:
        return "queues without a worker"
    return f"queues without a worker for {span(now - min(silent.values()))}: {', '.join(silent)}"


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return f"{seconds:.0f} s ago" if seconds < 60 else f"{span(timedelta(seconds=seconds))} ago"
