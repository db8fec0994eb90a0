"""For tests: relay, workers and sweep in one process, without a broker, at a time of the test's choosing."""

from collections import deque
from datetime import datetime, timedelta
from typing import Protocol

from django.conf import settings
from django.utils import timezone

from . import clock, deliveries, engine, undo
from .deliveries import DeliveryWakeUp
from .models import Event
from .plans import WakeUp
from .relay import relay
from .sweep import sweep


class Clock(Protocol):
    """What tells the time."""

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


def drive(*, now: Clock = clock.now) -> None:
    """Do all that is due: relay, chains, error callbacks, deliveries, sweep; return when nothing is.

    What is due later stays: move the clock and drive again.
    """
    limit = settings.SAGAS_RELAY_LIMIT
    while True:
        relayed = relay(now=now(), limit=limit)
        chains = deque([*relayed.wake_ups, *sweep(now=now(), limit=limit)])
        owed = deque([*relayed.deliveries, *deliveries.sweep_deliveries(now=now(), limit=limit)])
        if not chains and not owed and not Event.objects.filter(relayed_at=None).exists():
            return
        while chains:
            chains.extend(run_chain(chains.popleft(), now=now))
        while owed:
            owed.extend(run_delivery(owed.popleft(), now=now))


def run_chain(wake_up: WakeUp, *, now: Clock = clock.now) -> list[WakeUp]:
    """Do what a Celery chain and its error callback do; return the chains that are sent meanwhile."""
    sent: list[WakeUp] = []
    for task in wake_up.tasks:
        outcome = engine.execute(run_ids=wake_up.run_ids, place=task.place, epoch=wake_up.epoch, clock=now)
        sent += outcome.alone
        if outcome.failed is not None:
            if not wake_up.compensating:
                sent += undo.start_undo(run_ids=wake_up.run_ids, epoch=wake_up.epoch, now=now())
            undo.hand_over(run_ids=wake_up.run_ids, epoch=wake_up.epoch)
            break
        if not outcome.carries_on:
            break
    return sent


def run_delivery(wake_up: DeliveryWakeUp, *, now: Clock = clock.now) -> list[DeliveryWakeUp]:
    """Do what a delivery's Celery task does; return what stood in line behind it."""
    return deliveries.deliver(delivery_ids=wake_up.delivery_ids, clock=now)
