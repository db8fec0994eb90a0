"""Moments and days as pages show them: in the shop's zone, `TIME_ZONE`, whose name stands beside them."""

from datetime import UTC, date, datetime, time

from django.utils import timezone


def moment(at: datetime) -> str:
    """Return a moment such as `2026-03-29 02:30:00 BST`."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"


def day(at: datetime) -> date:
    """Return the day of the shop's zone in which a moment lies."""
    return timezone.localdate(at)


def midnight(at: datetime) -> datetime:
    """Return when the day of a moment began, in UTC; one without a midnight begins when its clocks are put forward."""
    return timezone.make_aware(datetime.combine(day(at), time.min)).astimezone(UTC)
