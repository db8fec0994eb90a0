"""Clocks that a test controls."""

from datetime import datetime, timedelta
from typing import Protocol

from django.utils import timezone


class Clock(Protocol):
    """A clock."""

    def __call__(self) -> datetime: ...


class MovableClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = timezone.now()

    def __call__(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        """Move on, as `timedelta(**by)`."""
        self.time += timedelta(**by)
