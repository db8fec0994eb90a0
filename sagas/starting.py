"""How runs begin: an event becomes a run with its whole plan."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from . import registry
from .definition import Saga
from .models import Event, Run, StepRun
from .plans import WakeUp, plan, wake_ups

logger = structlog.get_logger(__name__)


def start(saga: Saga[Any], events: Sequence[Event], *, now: datetime) -> list[WakeUp]:
    """Write the runs of `saga` that `events` start; return the chains to send once they are committed.

    Transaction: requires one.
    Idempotent: by (saga, event), and by (saga, key) while a run is open: those that stand are left as they are.
    """
    planned = [plan(saga, event, now=now) for event in events]
    taken = set(
        Run.objects.filter(saga=saga.name, event_id__in=[event.id for event in events]).values_list(
            "event_id", flat=True
        )
    )
    open_keys = set(
        Run.objects.filter(saga=saga.name, key__in=[event.key for event in events], finished_at=None).values_list(
            "key", flat=True
        )
    )
    runs, rows = [], []
    for run, steps in planned:
        if run.event_id in taken or run.key in open_keys:
            logger.warning("run_stands_already", saga=saga.name, key=run.key, event_id=str(run.event_id))
            continue
        open_keys.add(run.key)
        runs.append(run)
        rows.extend(steps)
    Run.objects.bulk_create(runs)
    StepRun.objects.bulk_create(rows)
    return wake_ups(runs, rows)


def start_from(event_id: UUID, *, now: datetime) -> None:
    """Start every saga that a stored event asks for; the sweep sends them."""
    event = Event.objects.get(id=event_id)
    for saga in registry.sagas():
        if saga.input.type == event.type:
            start(saga, [event], now=now)
