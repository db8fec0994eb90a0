"""Operations at the terminal: find a subject, confirm an action on many, show the progress.

`manage.py sagas` parses arguments and prints; the actions are here.
"""

import getpass
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Count, Model

from ..core import registry
from ..core.statuses import Action, DeliveryStatus, InterventionStatus, label
from ..db import clock
from ..messaging import tasks
from ..models import Follower, Intervention
from ..operations import interventions, replays, subjects, work_queue
from ..operations.deliveries import DeliverySubject
from ..operations.followers import FollowerSubject
from ..operations.runs import RunSubject
from ..operations.subject import Filter, NotNow, Subject
from .progress_bar import Show, progress

Say = Callable[[str], object]

#: Seconds without progress after which the command stops showing a replay: its receiver is busy.
_WATCH_SECONDS = 30.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Command:
    """The parsed command line.

    Attributes:
        kind: kind of the one subject, a name in `subjects.KINDS`; empty with a filter.
        name: the subject as typed: an id, a key, or the label of a key.
        meant: the filter; None for one subject.
    """

    action: Action
    kind: str
    name: str
    meant: Filter | None
    reason: str
    by: str
    result: str
    yes: bool


def find(kind: type[Subject[Any]], text: str) -> Any:
    """Return the row of the subject.

    Raises:
        CommandError: there is no such row.
    """
    found = kind.find(text)
    if found is None:
        raise CommandError(f"There is no {kind.kind} {text!r}; `manage.py sagas {kind.listing}` shows some.")
    return found


def execute(command: Command, say: Say) -> int:
    """Execute the command and print the outcome; return how many interventions were refused.

    Raises:
        CommandError: there is no such subject, no reason, or the action does not apply.
    """
    if not command.reason.strip():
        raise CommandError('A reason is needed: --reason "the network is back". The next person who looks reads it.')
    try:
        result = interventions.result_from(command.result)
        if command.meant is None:
            kind = subjects.KINDS[command.kind]
            return _one(command, find(kind, command.name), result, say)
        return _many(command, command.meant, result, say)
    except NotNow as refused:
        raise CommandError(str(refused)) from None


def replay(name: str, *, since: str, until: str, reason: str, by: str, say: Say) -> None:
    """Replay a range of time to one subscription, and show the progress until it is done.

    Raises:
        CommandError: there is no such subscription, no reason, or the range makes no sense.
    """
    now = clock.now()
    follower: Follower = find(FollowerSubject, name)
    try:
        batch = replays.ask(
            follower,
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
    if asked.status == InterventionStatus.PENDING:
        far = replays.progress(asked)
        say(f"{far.done:,} of {far.total:,} events; {name} has enough to do, the sweep goes on as it gets on.")
    else:
        say(asked.outcome)


def _watch(asked: Intervention, show: Show) -> None:
    moved_at = time.monotonic()
    while asked.status == InterventionStatus.PENDING and time.monotonic() - moved_at < _WATCH_SECONDS:
        before = replays.progress(asked).done
        if not tasks.work_on_interventions(asked.batch):
            time.sleep(_LOOK_SECONDS)
        asked.refresh_from_db()
        done = replays.progress(asked).done
        if done > before:
            moved_at = time.monotonic()
        show(done, f"{done:,} events")


def _one(command: Command, row: Model, result: Any, say: Say) -> int:
    _refuse_what_does_not_apply(command.action, row)
    operation = subjects.kind_of(row).operation(command.action)
    (before,) = subjects.summaries([row], now=clock.now())
    if operation is not None and (warning := operation.warning(before.unanswered)):
        say(f"Warning: {warning}")
    batch = _write_down(command, [row], result)
    tasks.work_on_interventions(batch)
    asked = Intervention.objects.get(batch=batch)
    row.refresh_from_db()
    (shown,) = subjects.summaries([row], now=clock.now())
    names = "" if operation is None else operation.names(shown, asked.applied_to)
    if asked.status == InterventionStatus.PENDING:
        say(f"{command.action} of {names} is written down: a worker is at it at this moment, the sweep does it next.")
    elif asked.status == InterventionStatus.DONE and operation is not None:
        done = f"{names} {operation.done}"
        say(f"Done: {done}." if shown.standing in done else f"Done: {done}. It is {shown.standing} now.")
    else:
        say(f"Refused: {asked.outcome}")
    return int(asked.status == InterventionStatus.REFUSED)


def _refuse_what_does_not_apply(action: Action, row: Model) -> None:
    """Refuse an action that does not apply before anything is written; a later change is refused when it is done."""
    allowed = subjects.possible(row, now=clock.now())
    if action not in allowed:
        subject = subjects.of(row)
        instead = f" What does: {', '.join(allowed)}." if allowed else ""
        raise CommandError(f"{action} does not apply: the {subject.kind} {subject.standing}.{instead}")


def _many(command: Command, meant: Filter, result: Any, say: Say) -> int:
    groups = work_queue.groups(meant)
    count = sum(group.count for group in groups)
    if not count:
        say("Nothing matches; nothing was done.")
        return 0
    for group in groups[:20]:
        at = f" at {group.step}" if group.step else ""
        say(f"{group.count:6}  {group.process}{at}  {group.error}".rstrip())
    if not command.yes:
        _confirm(f"{command.action} {count}? [y/N] ")
    batch = _write_down(command, work_queue.every(meant), result)
    far = interventions.progress(batch)
    with progress(label(command.action).capitalize(), far.total, say) as show:
        while tasks.work_on_interventions(batch):
            far = interventions.progress(batch)
            show(far.done + far.refused, f"{far.done} done, {far.refused} refused")
    far = interventions.progress(batch)
    say(f"{far.done} done, {far.refused} refused.")
    refused = Intervention.objects.filter(batch=batch, status=InterventionStatus.REFUSED)
    for outcome, times in refused.values_list("outcome").annotate(count=Count("pk")).order_by("-count")[:20]:
        say(f"{times:6}  {outcome}")
    if far.pending:
        say(f"{far.pending} are held by workers at this moment: the sweep does them next.")
    return far.refused


def _write_down(command: Command, rows: Iterable[Model], result: Any) -> UUID:
    return interventions.ask(
        rows,
        command.action,
        reason=command.reason,
        by=command.by or _user(),
        now=clock.now(),
        result=result,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "manage.py"


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to confirm it: add --yes if you mean it.")
    sys.stdout.write(question)
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.")


def filter_of_runs(*, status: str | None, saga: str | None, step: str | None, error: str | None) -> Filter:
    """Return the filter of `--all`.

    Raises:
        CommandError: it has no condition.
    """
    meant = Filter(kind=RunSubject.kind, status=status or "", process=saga or "", step=step or "", error=error or "")
    if meant == Filter(kind=RunSubject.kind):
        raise CommandError("--all needs one of --status, --saga, --step, --error: say which runs are meant.")
    return meant


def filter_of_deliveries(subscription: str, error: str | None) -> Filter:
    """Return the filter of `--parked`.

    Raises:
        CommandError: there is no such subscription.
    """
    if subscription not in registry.subscription_names() and not registry.is_switched_off(subscription):
        known = ", ".join(registry.subscription_names())
        raise CommandError(f"No subscription is called {subscription!r}; known: {known}.")
    return Filter(kind=DeliverySubject.kind, status=DeliveryStatus.PARKED, process=subscription, error=error or "")
