"""What people do in a terminal: find runs, be asked whether they mean it, see how far it is.

`manage.py sagas` reads arguments and prints; what it does stands here.
"""

import getpass
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Count, F

from ..core import registry
from ..core.statuses import OPEN_RUNS, DeliveryStatus
from ..db import clock
from ..messaging import tasks
from ..models import Delivery, Follower, Intervention, Run, StepRun
from ..operations import interventions, replays, standstill, work_queue
from ..operations.interventions import Action, NotNow, Subject
from ..operations.work_queue import Facts, Filter
from .progress_bar import Show, progress

Say = Callable[[str], object]

#: How long a replay is watched that does not get on: its receiver has enough to do.
_WATCH_SECONDS = 30.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody typed.

    Attributes:
        run: id, key, or what people call the key; empty if a filter or a delivery is meant.
        delivery: number of a parked delivery.
        subscription: name of a follower of the log.
        meant: all that match; None if one is meant.
    """

    action: Action
    run: str
    delivery: int | None
    subscription: str | None
    meant: Filter | None
    reason: str
    by: str
    result: str
    yes: bool


def find_run(text: str) -> Run:
    """As `find_run_or_none`.

    Raises:
        CommandError: there is none.
    """
    found = find_run_or_none(text)
    if found is None:
        raise CommandError(f"There is no run with the id or key {text!r}; `manage.py sagas list` shows some.")
    return found


def reactions_of(text: str) -> list[dict[str, Any]]:
    """Return the deliveries of a key, or of what people call so, in the order of its events.

    Raises:
        CommandError: there are none.
    """
    owed = Delivery.objects.filter(event__key=registry.key_of(text) or text).order_by("event", "pk")
    columns = ("id", "subscription", "status", "attempts", "error", "started_at", "finished_at")
    found = [dict(row) for row in owed.values(*columns, event_type=F("event__type"))]
    if not found:
        raise CommandError(f"There is no run with the id or key {text!r}; `manage.py sagas list` shows some.")
    return found


def find_run_or_none(text: str) -> Run | None:
    """Return the run people mean: by id, by key, or by what they call the key; of several the open, then the newest."""
    key = registry.key_of(text) or text
    runs = list(Run.objects.filter(key=key).order_by("-id")[:50])
    return next((run for run in runs if run.status in OPEN_RUNS), None) or next(iter(runs), None) or _by_id(text)


def _by_id(text: str) -> Run | None:
    try:
        return Run.objects.filter(id=UUID(text)).first()
    except ValueError:
        return None


def waiting(meant: Filter, limit: int) -> list[Facts]:
    """Return what needs a person, who waits longest first."""
    return work_queue.facts(work_queue.page(meant, limit=limit), now=clock.now())


def standing_still() -> Iterator[str]:
    """Yield what holds up more than one run: queues without a worker, paused subscriptions."""
    now = clock.now()
    for each in standstill.unserved(now=now):
        since = "ever" if each.alive_at is None else f"since {each.alive_at:%Y-%m-%d %H:%M:%S} UTC"
        yield f"queue {each.queue}: no worker has given a sign of life {since}; keys that wait: {each.waiting}"
    for facts in standstill.paused(now=now):
        by = f" by {facts.paused}" if facts.paused else ""
        yield f"subscription {facts.process}: paused since {facts.since:%Y-%m-%d %H:%M:%S} UTC{by}"


def as_json(facts: Facts) -> dict[str, Any]:
    told = asdict(facts) | {"id": facts.pk, "called": facts.title, "actions": [str(each) for each in facts.actions]}
    return {name: value for name, value in told.items() if name not in ("pk", "named", "seen")}


def obey(wish: Wish, say: Say) -> int:
    """Do what was typed and tell what came of it; return how many were refused.

    Raises:
        CommandError: there is no such run or delivery, no reason, or the action does not apply.
    """
    if not wish.reason.strip():
        raise CommandError('A reason is needed: --reason "the provider is back". Whoever looks at it later wants it.')
    try:
        result = interventions.result_from(wish.result)
        if wish.meant is None:
            return _one(wish, _subject(wish), result, say)
        return _many(wish, wish.meant, result, say)
    except NotNow as refused:
        raise CommandError(str(refused)) from None


def _subject(wish: Wish) -> Subject:
    if wish.subscription is not None:
        return _follower(wish.subscription)
    if wish.delivery is None:
        return find_run(wish.run)
    delivery = Delivery.objects.filter(pk=wish.delivery).first()
    if delivery is None:
        raise CommandError(f"There is no delivery {wish.delivery}; `manage.py sagas queue` shows those that wait.")
    return delivery


def _follower(name: str) -> Follower:
    follower = Follower.objects.filter(name=name).first()
    if follower is None:
        raise CommandError(f"Nobody called {name!r} follows the log; `manage.py sagas followers`.")
    return follower


def replay(name: str, *, since: str, until: str, reason: str, by: str, say: Say) -> None:
    """Owe a range of time to one subscription once more, and show how far that is until it is through.

    Raises:
        CommandError: there is no such subscription, no reason, or the range makes no sense.
    """
    now = clock.now()
    try:
        batch = replays.ask(
            _follower(name),
            since=replays.moment_from(since, "--since"),
            until=replays.moment_from(until, "--until") if until else now,
            reason=reason,
            by=by or _user(),
            now=now,
        )
    except NotNow as refused:
        raise CommandError(str(refused)) from None
    asked = Intervention.objects.get(batch=batch)
    total = replays.progress(asked).total
    try:
        with progress("Replay", total, say) as show:
            _watch(asked, show)
    except KeyboardInterrupt:
        say("Nothing is lost: the sweep goes on with it.")
        return
    if asked.status == Intervention.Status.PENDING:
        far = replays.progress(asked)
        say(f"{far.done:,} of {far.total:,} events; {name} has enough to do, the sweep goes on as it gets on.")
    else:
        say(asked.outcome)


def _watch(asked: Intervention, show: Show) -> None:
    moved_at = time.monotonic()
    while asked.status == Intervention.Status.PENDING and time.monotonic() - moved_at < _WATCH_SECONDS:
        seen = replays.progress(asked).done
        if not tasks.work_on_interventions(asked.batch):
            time.sleep(_LOOK_SECONDS)
        asked.refresh_from_db()
        done = replays.progress(asked).done
        if done > seen:
            moved_at = time.monotonic()
        show(done, f"{done:,} events")


def _one(wish: Wish, subject: Subject, result: Any, say: Say) -> int:
    _refuse_what_does_not_apply(wish.action, subject)
    if wish.action == Action.SKIP:
        (before,) = work_queue.facts([subject], now=clock.now())
        if doubt := interventions.doubt(before.unanswered):
            say(f"Warning: {doubt}")
    batch = _ask(wish, [subject], result)
    tasks.work_on_interventions(batch)
    asked = Intervention.objects.get(batch=batch)
    (shown,) = work_queue.facts([subject], now=clock.now())
    named = {"title": shown.title, "step": asked.step or shown.step or shown.process}
    if asked.status == Intervention.Status.PENDING:
        wanted = interventions.wanted(wish.action, shown.kind, **named)
        say(f"{wanted} is written down: a worker is at it at this moment, the sweep does it next.")
    elif asked.status == Intervention.Status.DONE:
        subject.refresh_from_db()
        done = interventions.done(wish.action, shown.kind, **named)
        status = subject.status.replace("_", " ")
        say(f"Done: {done}." if status in done else f"Done: {done}. It is {status} now.")
    else:
        say(f"Refused: {asked.outcome}")
    return int(asked.status == Intervention.Status.REFUSED)


def _refuse_what_does_not_apply(action: Action, subject: Subject) -> None:
    """Say so before anything is written down; a stale look is still refused as it is done."""
    if isinstance(subject, Run):
        row = StepRun.objects.filter(run=subject, place=subject.place).first()
        allowed = interventions.possible(subject, row, now=clock.now())
    else:
        allowed = interventions.possible(subject, now=clock.now())
    if action not in allowed:
        kind = type(subject).__name__.lower()
        instead = f" What does: {', '.join(allowed)}." if allowed else ""
        raise CommandError(f"{action} does not apply: the {kind} is {subject.status.replace('_', ' ')}.{instead}")


def _many(wish: Wish, meant: Filter, result: Any, say: Say) -> int:
    groups = work_queue.groups(meant)
    count = sum(group.count for group in groups)
    if not count:
        say("Nothing matches; nothing was done.")
        return 0
    for group in groups[:20]:
        at = f" at {group.step}" if group.step else ""
        say(f"{group.count:6}  {group.process}{at}  {group.error}".rstrip())
    if not wish.yes:
        _confirm(f"{wish.action} {count}? [y/N] ")
    batch = _ask(wish, _subjects(meant), result)
    far = interventions.progress(batch)
    with progress(wish.action.label, far.total, say) as show:
        while tasks.work_on_interventions(batch):
            far = interventions.progress(batch)
            show(far.done + far.refused, f"{far.done} done, {far.refused} refused")
    far = interventions.progress(batch)
    say(f"{far.done} done, {far.refused} refused.")
    refused = Intervention.objects.filter(batch=batch, status=Intervention.Status.REFUSED)
    for outcome, times in refused.values_list("outcome").annotate(count=Count("pk")).order_by("-count")[:20]:
        say(f"{times:6}  {outcome}")
    if far.pending:
        say(f"{far.pending} are held by workers at this moment: the sweep does them next.")
    return far.refused


def _subjects(meant: Filter) -> Iterator[Run | Delivery]:
    return chain(meant.runs().order_by("pk").iterator(), meant.deliveries().order_by("pk").iterator())


def _ask(wish: Wish, subjects: Sequence[Subject] | Iterator[Subject], result: Any) -> UUID:
    skips = wish.action == Action.SKIP
    return interventions.ask(
        subjects,
        wish.action,
        reason=wish.reason,
        by=wish.by or _user(),
        now=clock.now(),
        result=result if skips else None,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "manage.py"


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("Nobody is there to be asked: add --yes if you mean it.")
    sys.stdout.write(question)
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.")


def filter_of_runs(*, status: str | None, saga: str | None, step: str | None, error: str | None) -> Filter:
    """Return the runs `--all` means.

    Raises:
        CommandError: nothing narrows it.
    """
    meant = Filter(kind="run", status=status or "", process=saga or "", step=step or "", error=error or "")
    if meant == Filter(kind="run"):
        raise CommandError("--all needs one of --status, --saga, --step, --error: say which runs are meant.")
    return meant


def filter_of_deliveries(subscription: str, error: str | None) -> Filter:
    return Filter(kind="delivery", status=DeliveryStatus.PARKED, process=subscription, error=error or "")
