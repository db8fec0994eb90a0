"""The sweep: finds runs that are due, overdue or were forgotten by a message that got lost, and sends them again."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from django.db import transaction

from . import registry
from .definition import Failure
from .errors import Kind
from .models import Run
from .plans import MOST_RESENT, WakeUp, resend_after, wake_ups_of
from .transitions import LIVE_RUNS, RunStatus, StepStatus
from .undo import hand_over, start_undo


def sweep(*, now: datetime, limit: int) -> list[WakeUp]:
    """Return the chains that take due runs on, from where their journal stands.

    Any number of sweeps may run: a run is swept by one of them, and not again before its new `due_at`.

    Transaction: opens one.
    """
    with transaction.atomic():
        expire(now=now, limit=limit)
        due = list(
            Run.objects.filter(status__in=LIVE_RUNS, due_at__lte=now, saga__in=registry.names())
            .order_by("due_at")
            .select_for_update(skip_locked=True)[:limit]
        )
        for run in due:
            run.resent = min(run.resent + 1, MOST_RESENT)
            run.due_at = now + resend_after(run.resent)
        Run.objects.bulk_update(due, ("resent", "due_at"))
        _hand_over([run for run in due if run.attention is not None])
        failed = [run for run in due if run.status == RunStatus.RUNNING and run.failure is not None]
        forward = [run for run in due if run.attention is None and run not in failed]
        return _start_undo(failed, now) + wake_ups_of(forward)


def _hand_over(runs: Iterable[Run]) -> None:
    for epoch, run_ids in _by_epoch(runs).items():
        hand_over(run_ids=run_ids, epoch=epoch)


def _start_undo(runs: Iterable[Run], now: datetime) -> list[WakeUp]:
    return [
        wake_up
        for epoch, run_ids in _by_epoch(runs).items()
        for wake_up in start_undo(run_ids=run_ids, epoch=epoch, now=now)
    ]


def _by_epoch(runs: Iterable[Run]) -> dict[int, list[UUID]]:
    groups: dict[int, list[UUID]] = defaultdict(list)
    for run in runs:
        groups[run.epoch].append(run.id)
    return groups


def expire(*, now: datetime, limit: int) -> int:
    """Turn back runs whose deadline has passed before their pivot; return how many.

    A run at or behind its pivot only goes forward: its deadline no longer counts. Runs of sagas this process does
    not know are left to one that does (rolling deploy).

    Transaction: requires one.
    """
    late = list(
        Run.objects.filter(status=RunStatus.RUNNING, deadline_at__lte=now, saga__in=registry.names())
        .order_by("deadline_at")
        .select_for_update(skip_locked=True)[:limit]
    )
    expired = 0
    for run in late:
        run.deadline_at = None
        if run.failure is None and _may_go_back(run):
            run.failure, run.due_at = asdict(_DEADLINE_PASSED), now
            expired += 1
    Run.objects.bulk_update(late, ("failure", "deadline_at", "due_at"))
    return expired


_DEADLINE_PASSED = Failure(step="", kind=Kind.REJECTED, error="DeadlinePassed", message="It could not be done in time.")


def _may_go_back(run: Run) -> bool:
    """Say whether a run stands before its pivot, or at it without having begun; by its own plan, not by today's."""
    pivot = run.pivot_place
    if pivot is None or run.place < pivot:
        return True
    return run.place == pivot and run.steps.filter(place=pivot, status=StepStatus.PENDING).exists()
