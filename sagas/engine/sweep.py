"""The sweep: finds runs that are due, overdue, or whose message was lost, and sends them again."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, prefetch_related_objects

from ..core import registry
from ..core.errors import DefinitionError, FailureKind, RunOfOtherCodeError
from ..core.saga import Failure
from ..core.statuses import LIVE_RUNS, RunStatus
from ..db.rows import update_all
from ..models import Run, StepRun
from . import rules
from .limits import MAX_RESENDS, note_resend
from .plan import plan_undo
from .rules import is_to_undo
from .undo import hand_over, start_undo
from .wake_ups import WakeUp, tasks_of, wake_ups_of

#: Within this time a process that knows the saga would have taken the run.
_FORGOTTEN_AFTER = timedelta(hours=1)


def sweep_runs(*, now: datetime, limit: int) -> list[WakeUp]:
    """Return the chains that continue due runs from the position in their journal.

    Any number of sweeps may run: one of them sends a run, and no sweep sends it again before its new `due_at`.

    Transaction: opens one.
    """
    with transaction.atomic():
        expire(now=now, limit=limit)
        known = registry.names()
        waiting = (
            Run.objects.filter(status__in=LIVE_RUNS).order_by("due_at").select_for_update(no_key=True, skip_locked=True)
        )
        due = _not_held(list(waiting.filter(saga__in=known, due_at__lte=now)[:limit]), now)
        forgotten = list(waiting.exclude(saga__in=known).filter(due_at__lte=now - _FORGOTTEN_AFTER)[:limit])
        for run in due:
            note_resend(run, now)
        _note_unknown([run for run in due if run.resends == MAX_RESENDS and run.attention is None])
        for run in forgotten:
            run.attention = asdict(_other_code(run))
        update_all([*due, *forgotten], ("resends", "due_at", "attention"))
        _hand_over([run for run in (*due, *forgotten) if run.attention is not None], now)
        failed = [run for run in due if is_to_undo(run)]
        forward = [run for run in due if run.attention is None and run not in failed]
        return _start_undo(failed, now) + wake_ups_of(forward)


def _not_held(due: Sequence[Run], now: datetime) -> list[Run]:
    """Postpone runs with a leased step to the end of the lease; return the others.

    A run to undo does not wait for the lease.
    """
    goes_on = [run for run in due if not is_to_undo(run)]
    held = dict(
        StepRun.objects.filter(run__in=goes_on, place=F("run__place"), held_until__gt=now).values_list(
            "run_id", "held_until"
        )
    )
    for run in due:
        run.due_at = held.get(run.id, run.due_at)
    update_all([run for run in due if run.id in held], ("due_at",))
    return [run for run in due if run.id not in held]


def _note_unknown(runs: Sequence[Run]) -> None:
    """Set those runs as needing a person for whose rest, or undo, this process has no code; one statement."""
    prefetch_related_objects(runs, "steps")
    for run in runs:
        try:
            if is_to_undo(run):
                plan_undo(registry.saga(run.saga), run, list(run.steps.all()))
            else:
                tasks_of(run, run.steps.all())
        except DefinitionError:
            run.attention = asdict(_other_code(run))


def _other_code(run: Run) -> Failure:
    return Failure(
        step="",
        kind=FailureKind.UNEXPECTED,
        error=RunOfOtherCodeError.__name__,
        message=f"No code that knows the rest of this run of {run.saga} has looked after it for about an hour. Deploy"
        " code that does, and retry; or skip what is left.",
    )


def _hand_over(runs: Iterable[Run], now: datetime) -> None:
    for epoch, run_ids in _by_epoch(runs).items():
        hand_over(run_ids=run_ids, epoch=epoch, now=now)


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
    """Set runs whose deadline has passed before their pivot as to be undone; return how many.

    Runs of sagas this process does not know are left to a process that knows them (rolling deploy).

    Transaction: requires one.
    """
    late = list(
        Run.objects.filter(status=RunStatus.RUNNING, deadline_at__lte=now, saga__in=registry.names())
        .order_by("deadline_at")
        .select_for_update(no_key=True, skip_locked=True)[:limit]
    )
    here = {row.run_id: row for row in StepRun.objects.filter(run__in=late, place=F("run__place"))}
    expired = sum(rules.expire(run, here[run.id], now=now) for run in late)
    update_all(late, ("failure", "deadline_at", "due_at"))
    return expired
