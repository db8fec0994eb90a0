"""Moments and days for pages: in the shop's zone, `TIME_ZONE`, with its name."""

from datetime import UTC, date, datetime, time

from django.utils import timezone


def moment(at: datetime) -> str:
    """Return a moment such as `2026-03-29 02:30:00 BST`."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"


def day(at: datetime) -> date:
    """Return the day of a moment in the shop's zone."""
    return timezone.localdate(at)


def midnight(at: datetime) -> datetime:
    """Return the beginning of a moment's day, in UTC; a day without midnight begins when clocks are put forward."""
    return timezone.make_aware(datetime.combine(day(at), time.min)).astimezone(UTC)
