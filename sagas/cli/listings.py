"""The lists of `manage.py sagas`: runs, steps, reactions and work for a person, as JSON values."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError
from django.db.models import F

from ..core import registry
from ..db import clock
from ..models import Delivery, Run
from ..operations import queries, standstill, subjects, work_queue
from ..operations.subject import Filter
from ..operations.summary import Summary


def runs(found: Sequence[Run]) -> list[dict[str, Any]]:
    named = registry.named({run.key for run in found})
    return [_of_run(run, run.key if (label := named.get(run.key)) is None else label.text) for run in found]


def run_with_steps(run: Run) -> dict[str, Any]:
    queries.load_interventions([run])
    skips = {asked.applied_to: asked for asked in queries.skips(run)}
    steps = [_of_step(run, row, skips.get(row.name)) for row in run.steps.order_by("place")]
    return runs([run])[0] | {"steps": steps}


def reactions_of(text: str) -> list[dict[str, Any]]:
    """Return the deliveries of a key, or of the label of one, in the order of its events.

    Raises:
        CommandError: there are none.
    """
    owed = Delivery.objects.filter(event__key=registry.key_of(text) or text).order_by("event", "pk")
    columns = ("id", "subscription", "status", "attempts", "error", "started_at", "finished_at")
    found = [dict(row) for row in owed.values(*columns, event_type=F("event__type"))]
    if not found:
        raise CommandError(f"There is no run {text!r}; `manage.py sagas list` shows some.")
    return found


def waiting(meant: Filter, limit: int) -> list[Summary]:
    """Return the subjects that need a person, the longest waiting first."""
    return subjects.summaries(work_queue.page(meant, limit=limit), now=clock.now())


def standing_still() -> Iterator[str]:
    """Yield the causes that hold up more than one run: queues without a worker, paused subscriptions."""
    now = clock.now()
    for each in standstill.unserved(now=now):
        since = "ever" if each.alive_at is None else f"since {each.alive_at:%Y-%m-%d %H:%M:%S} UTC"
        yield f"queue {each.queue}: no worker has given a sign of life {since}; keys that wait: {each.waiting}"
    for paused in standstill.paused(now=now):
        by = f" by {paused.paused}" if paused.paused else ""
        yield f"subscription {paused.process}: paused since {paused.since:%Y-%m-%d %H:%M:%S} UTC{by}"


def as_json(summary: Summary) -> dict[str, Any]:
    actions = [str(each) for each in summary.actions]
    values = asdict(summary) | {"id": summary.pk, "called": summary.title, "actions": actions}
    return {name: value for name, value in values.items() if name not in ("pk", "named", "version_token")}


def _of_run(run: Run, called: str) -> dict[str, Any]:
    why = run.attention or run.failure
    return {
        "id": str(run.id),
        "saga": run.saga,
        "key": run.key,
        "called": called,
        "status": run.status,
        "why": f"{why['step'] or why['error']}: {why['message']}" if why else "",
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "due_at": run.due_at,
    }


def _of_step(run: Run, row: Any, skip: Any) -> dict[str, Any]:
    tries = row.tries.order_by("pk").values("number", "kind", "error", "message", "failed_at", "retry_at")
    return {
        "place": row.place,
        "name": row.name,
        "status": row.status if skip is None else "by hand",
        "skipped_by": "" if skip is None else skip.by,
        "skipped_because": "" if skip is None else skip.reason,
        "attempts": row.attempts,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "result": run.results.get(row.name),
        "failed_tries": list(tries),
    }
