"""The timeline on the page of an order: an icon, a tone and a word for every kind of entry."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from backoffice.moments import moment
from backoffice.money import formatted
from sagas.conf import conf
from shop.story.entries import Entry
from shop.story.standing import Standing

#: Tones: good, bad, being undone, under way, neutral.
_TONES = {
    **dict.fromkeys(("done", "completed", "captured", "sent", "shipped", "confirmed"), "good"),
    **dict.fromkeys(("failed", "rejected", "declined", "parked", "needs_attention", "refused"), "bad"),
    **dict.fromkeys(("undoing", "undone", "released", "refunded"), "back"),
    **dict.fromkeys(
        ("unknown", "retryable", "unexpected", "waiting", "cancelled", "paused", "skipped by hand"), "back"
    ),
    **dict.fromkeys(("running", "next", "pending", "held", "queued"), "busy"),
}

#: Material symbols; that of the kind if the status has none.
_STATUS_ICONS = {
    "done": "check_circle",
    "failed": "cancel",
    "running": "sync",
    "next": "pending",
    "pending": "radio_button_unchecked",
    "waiting": "schedule",
    "unknown": "help",
    "skipped": "do_not_disturb_on",
    "skipped by hand": "front_hand",
    "paused": "pause_circle",
    "undoing": "undo",
    "undone": "undo",
    "parked": "warning",
    "confirmed": "check_circle",
    "rejected": "cancel",
    "cancelled": "block",
}
_KIND_ICONS = {
    "event": "campaign",
    "attempt": "error",
    "payment": "payments",
    "reservation": "inventory_2",
    "notification": "mail",
    "intervention": "front_hand",
}
_RUN_ICONS = {
    "completed": "flag",
    "undone": "flag",
    "undoing": "u_turn_left",
    "needs_attention": "front_hand",
}

#: The meaning of each kind of failure, for readers who do not know the terms.
_MEANINGS = {
    "rejected": "refused",
    "retryable": "may work later",
    "unknown": "outcome unknown",
    "unexpected": "unexpected error",
}
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
#: The time of two turns of the reconciliation, with a margin.
_LOOKED_AT_WITHIN = timedelta(seconds=20 + 2 * conf.RECONCILE_SECONDS)
_LABELLED = ("step", "undo", "attempt", "delivery")


def tone(status: str) -> str:
    return _TONES.get(status, "quiet")


def icon(status: str) -> str:
    return _STATUS_ICONS.get(status, "circle")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One entry of the timeline, ready to print."""

    key: str
    kind: str
    icon: str
    tone: str
    title: str
    label: str
    detail: str
    at: datetime
    clock: str
    offset: str
    took: str
    next_try_at: datetime | None
    data: str
    traceback: str

    @classmethod
    def of(cls, entry: Entry, *, since: datetime) -> "Shown":
        data = {name: value for name, value in entry.data.items() if name != "traceback" and value not in (None, "")}
        started = entry.kind == "run" and entry.title.endswith("started")
        return cls(
            key=f"{entry.kind}:{entry.at.isoformat()}:{entry.title}",
            kind=entry.kind,
            icon="play_circle" if started else _icon(entry),
            tone="quiet" if started or entry.kind == "event" else tone(entry.status),
            title=entry.title,
            label=_label(entry),
            detail=entry.detail,
            at=entry.at,
            clock=_clock(entry.at, since),
            offset=f"+{span(entry.at - since)}",
            took="" if started or entry.duration_seconds is None else span(timedelta(seconds=entry.duration_seconds)),
            next_try_at=entry.next_try_at,
            data=json.dumps(data, indent=2, ensure_ascii=False) if data else "",
            traceback=entry.data.get("traceback", ""),
        )


@dataclass(frozen=True, kw_only=True)
class OrderLine:
    """One line of the order, ready to print."""

    sku: str
    name: str
    quantity: int
    price: str
    total: str

    @classmethod
    def of(cls, line: Any, currency: str) -> "OrderLine":
        return cls(
            sku=line.sku,
            name=line.name,
            quantity=line.quantity,
            price=formatted(line.unit_price_minor, currency),
            total=formatted(line.quantity * line.unit_price_minor, currency),
        )


def poll_ms(standing: Standing, *, placed_at: datetime, last_at: datetime, now: datetime) -> int:
    """Return the pause until the page reloads the story; 0 to stop.

    A second; less in the first five seconds, in which most orders are done; more until the next try, while the order
    waits for a person, and for a minute after the last entry: the reconciliation checks it after the end.
    """
    if not standing.live:
        return 5000 if standing.needs_attention or now - last_at < _LOOKED_AT_WITHIN else 0
    if standing.next_try_at is not None and standing.next_try_at - now > timedelta(seconds=10):
        return 5000
    return 300 if now - placed_at < timedelta(seconds=5) else 1000


def span(time: timedelta) -> str:
    """Return a time span in the unit that fits: 43 ms, 1.25 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    seconds = max(0.0, time.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    whole = int(seconds)
    place = next(place for place, (_, size) in enumerate(_UNITS) if whole >= size)
    (large, size), (small, part) = _UNITS[place : place + 2]
    rest = whole % size // part
    return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")


def ago(at: datetime, *, now: datetime) -> SafeString:
    """Return how long ago something was; a script updates it while the page is open."""
    return format_html(
        '<time data-ago datetime="{}" title="{}">{} ago</time>',
        at.isoformat(),
        moment(at),
        _roughly(now - at),
    )


def _roughly(time: timedelta) -> str:
    seconds = max(0, int(time.total_seconds()))
    name, size = next((unit for unit in _UNITS if seconds >= unit[1]), ("s", 1))
    return f"{seconds // size} {name}"


def _label(entry: Entry) -> str:
    if entry.kind == "event":
        return "event" if entry.status == "relayed" else "event, not passed on yet"
    return _MEANINGS.get(entry.status, entry.status) if entry.kind in _LABELLED else ""


def _icon(entry: Entry) -> str:
    if entry.kind == "run":
        return _RUN_ICONS.get(entry.status, "flag")
    if entry.kind == "undo" and entry.status == "done":
        return "undo"
    return _KIND_ICONS.get(entry.kind) or icon(entry.status)


def _clock(at: datetime, since: datetime) -> str:
    """Return the time of day, with the date if that differs."""
    at, since = timezone.localtime(at), timezone.localtime(since)
    time = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
    return time if at.date() == since.date() else f"{at:%Y-%m-%d} {time}"
