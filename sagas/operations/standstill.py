"""Causes that hold up more than one key until a person acts: queues without a worker, paused subscriptions."""

from dataclasses import dataclass
from datetime import datetime

from ..models import Follower
from . import attention, heartbeats, subjects
from .summary import Summary


@dataclass(frozen=True, kw_only=True)
class Unserved:
    """A queue that no worker serves.

    Attributes:
        alive_at: its last sign of life; None if there was none.
        waiting: number of keys with due work for it, as far as they were counted.
    """

    queue: str
    alive_at: datetime | None
    waiting: int


def unserved(*, now: datetime) -> list[Unserved]:
    """Return the queues that no worker serves: those that were served before, and those with waiting work."""
    silent: dict[str, datetime | None] = {**heartbeats.silent(now=now)}
    waiting: dict[str, int] = {}
    for listed in attention.late(now=now).values():
        for each in {each.queue: each for each in listed}.values():
            waiting[each.queue] = waiting.get(each.queue, 0) + 1
            silent.setdefault(each.queue, each.alive_at)
    return [Unserved(queue=queue, alive_at=silent[queue], waiting=waiting.get(queue, 0)) for queue in sorted(silent)]


def paused(*, now: datetime) -> list[Summary]:
    """Return the subscriptions that a person paused, with the reason."""
    return subjects.summaries(list(Follower.objects.filter(paused_at__isnull=False).order_by("paused_at")), now=now)
