"""What a person may do to a run, a parked delivery or a follower, safely: retry, skip, undo, cancel, pause, resume.

Each is written down with its reason before it is done (rule 7), and is done only if its subject still stands where
the person saw it. Many at once are the same rows, worked off in portions by whoever comes first. A replay is
such a row too; `replays` works it off.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from ..core import registry
from ..core.errors import FailureKind, Rejected
from ..core.ids import new_id
from ..core.saga import Failure
from ..core.statuses import LIVE_RUNS, STOPPED_RUNS, DeliveryStatus, RunStatus, StepStatus
from ..core.subscription import Start
from ..db import locks
from ..db.rows import update_all
from ..db.storable import storable_result
from ..engine.deliveries import send_again, skip_deliveries
from ..engine.rules import advance, set_failure, stands_before_pivot
from ..engine.undo import undo_runs
from ..engine.wake_ups import DeliveryWakeUp, WakeUp, wake_ups_of
from ..log import followers
from ..models import Delivery, Follower, Intervention, Run, StepRun

Action = Intervention.Action
Subject = Run | Delivery | Follower

#: Interventions of one transaction; bounds how long their rows are locked.
PORTION = 100

#: What each does, for the people who choose.
MEANS: dict[Action, str] = {
    Action.RETRY: "Try again what failed, with all its tries.",
    Action.SKIP: "Take the step as done, for somebody did it by hand; later steps get the result given here.",
    Action.UNDO: "Undo what was done so far. The customer reads that it could not be carried out, not the reason.",
    Action.CANCEL: "Call it off and undo what was done so far. The customer reads the reason.",
    Action.PAUSE: "Begin no further step until it is resumed; the deadline waits too.",
    Action.RESUME: "Go on where it was paused.",
}
#: The same, for a parked delivery.
MEANS_FOR_DELIVERY: dict[Action, str] = {
    Action.RETRY: "Try it again, with all its tries. What stands in line behind it follows.",
    Action.SKIP: "Leave it out: this reaction is not made. What stands in line behind it follows.",
}
#: The same, for a follower of the log.
MEANS_FOR_FOLLOWER: dict[Action, str] = {
    Action.PAUSE: "Do nothing of what it is owed, and owe it nothing new, until it is resumed. The log keeps it all.",
    Action.RESUME: "Go on where it was paused: it catches up with the log, in order.",
    Action.SKIP: "Leave out all it has not been owed yet: it goes on with what comes from now on.",
    Action.REPLAY: (
        "Owe it every event of a range of time once more, in the order of each key: its reaction is made again. What"
        " still waits, is parked or was left out by hand stays as it is. Others get nothing."
    ),
}
#: What people act on → what each action means for it.
KINDS: dict[str, dict[Action, str]] = {
    "run": MEANS,
    "delivery": MEANS_FOR_DELIVERY,
    "follower": MEANS_FOR_FOLLOWER,
}

#: What came of each: only who retries or skips speaks of a step.
_DONE: dict[str, dict[Action, str]] = {
    "run": {
        Action.RETRY: "“{step}” of {title} is tried again",
        Action.SKIP: "“{step}” of {title} is taken as done",
        Action.UNDO: "{title} is being undone",
        Action.CANCEL: "{title} is being cancelled",
        Action.PAUSE: "{title} is paused",
        Action.RESUME: "{title} goes on",
    },
    "delivery": {
        Action.RETRY: "“{step}” of {title} is tried again",
        Action.SKIP: "“{step}” of {title} is left out",
    },
    "follower": {
        Action.PAUSE: "“{title}” is paused",
        Action.RESUME: "“{title}” goes on",
        Action.SKIP: "“{title}” leaves out what it had not been owed",
    },
}


def done(action: Action, kind: str, *, title: str, step: str) -> str:
    """Say what came of an intervention: what stands where now, by the name people call it."""
    return _DONE[kind][action].format(title=title, step=step)


def wanted(action: Action, kind: str, *, title: str, step: str) -> str:
    """Say what a person wants: `Cancel Order S100001`, `Retry “capture-payment” of Order S100001`."""
    names_step = kind == "delivery" or action in (Action.RETRY, Action.SKIP)
    at = f"“{step}” of " if names_step and step and kind != "follower" else ""
    return f"{action.label} {at}{f'“{title}”' if kind == 'follower' else title}"


class NotNow(Rejected):
    """The button does not apply, or its subject moved on since the person looked: nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class Worked:
    """What came of a portion, and the messages to send now that it is committed."""

    done: int = 0
    refused: int = 0
    wake_ups: list[WakeUp] = field(default_factory=list)
    deliveries: list[DeliveryWakeUp] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a batch is."""

    total: int
    done: int
    refused: int

    @property
    def pending(self) -> int:
        return self.total - self.done - self.refused


# What is possible -----------------------------------------------------------------------------------------------------


def seen(subject: Subject) -> str:
    """Return where a subject stands, as a button remembers it."""
    if isinstance(subject, Run):
        return f"{subject.epoch}:{subject.place}:{subject.status}"
    if isinstance(subject, Follower):
        return subject.status
    return f"{subject.attempts}:{subject.status}"


def possible(subject: Subject, row: StepRun | None = None, *, now: datetime) -> list[Action]:
    """Return what a person may do now.

    Args:
        row: the step a run stands at.
    """
    if isinstance(subject, Delivery):
        return [Action.RETRY, Action.SKIP] if subject.status == DeliveryStatus.PARKED else []
    if isinstance(subject, Follower):
        return [Action.PAUSE if subject.paused_at is None else Action.RESUME, *_possible_in_the_log(subject)]
    if subject.finished_at is not None or row is None:
        return []
    gave_up = subject.failure is not None and subject.status == RunStatus.RUNNING  # about to be turned back
    allowed = {
        Action.RETRY: subject.status == RunStatus.NEEDS_ATTENTION or _waits_for_its_try(subject, row, now),
        Action.SKIP: not gave_up and _may_be_skipped(subject, row, now),
        Action.UNDO: _may_turn_back(subject, row),
        Action.CANCEL: _may_turn_back(subject, row),
        Action.PAUSE: subject.status in LIVE_RUNS and not gave_up and subject.attention is None,
        Action.RESUME: subject.status == RunStatus.PAUSED,
    }
    return [action for action, yes in allowed.items() if yes]


def doubt(unanswered: int) -> str:
    """Return the warning before a step is skipped of which tries had no answer; empty if all were answered."""
    if not unanswered:
        return ""
    tries = "1 try" if unanswered == 1 else f"{unanswered} tries"
    return (
        f"{tries} had no answer and may have taken effect at the other system. Look there first: what is skipped is"
        " not asked about again."
    )


def _possible_in_the_log(follower: Follower) -> list[Action]:
    """Return what can be done to its place; what starts runs, and read models, may neither miss nor repeat an event."""
    subscription = registry.subscription(follower.name)
    if isinstance(subscription, Start) or registry.read_model(follower.name.partition(":")[0]) is not None:
        return []
    return [Action.SKIP] if subscription is None else [Action.SKIP, Action.REPLAY]


def _waits_for_its_try(run: Run, row: StepRun, now: datetime) -> bool:
    waits = row.held_until is not None and row.held_until > now and row.lease_token is None
    return run.status in LIVE_RUNS and waits


def _may_be_skipped(run: Run, row: StepRun, now: datetime) -> bool:
    if run.status == RunStatus.NEEDS_ATTENTION:
        return True
    idle = row.status in (StepStatus.PENDING, StepStatus.UNKNOWN, StepStatus.FAILED)
    return idle and (run.status == RunStatus.PAUSED or _waits_for_its_try(run, row, now))


def _may_turn_back(run: Run, row: StepRun) -> bool:
    return run.direction == RunStatus.RUNNING and run.failure is None and stands_before_pivot(run, row)


# Asking ---------------------------------------------------------------------------------------------------------------


def ask(
    subjects: Iterable[Subject],
    action: Action,
    *,
    reason: str,
    by: str,
    now: datetime,
    as_seen: str | Mapping[UUID | int | str, str] | None = None,
    result: Any = None,
    replay: Mapping[str, Any] | None = None,
    batch: UUID | None = None,
) -> UUID:
    """Write down what a person wants; `work` does it. Return the batch that tells how far it is.

    Transaction: opens one.
    Idempotent: by `batch`; a form that is sent twice asks once.

    Args:
        as_seen: where the person saw the one subject stand, or each by its primary key; as it stands now unless
            told otherwise.
        result: what a skipped step hands on, a JSON object.
        replay: the range of one, as `replays` keeps it.

    Raises:
        NotNow: there is no reason, or the result cannot be stored.
    """
    reason = reason.strip().replace("\x00", "")
    if not reason:
        raise NotNow("A reason is needed: whoever looks at it later wants to know why.")
    given, batch = batch, batch or new_id()
    seen_at = {} if as_seen is None or isinstance(as_seen, str) else as_seen
    with transaction.atomic():
        if given is not None and _was_asked(given):
            return given
        Intervention.objects.bulk_create(
            (
                Intervention(
                    batch=batch,
                    run=subject if isinstance(subject, Run) else None,
                    delivery=subject if isinstance(subject, Delivery) else None,
                    follower=subject if isinstance(subject, Follower) else None,
                    action=action,
                    reason=reason,
                    by=by[:150],
                    seen=(as_seen if isinstance(as_seen, str) else seen_at.get(subject.pk, seen(subject)))[:40],
                    result=_checked(result),
                    replay=replay,
                    asked_at=now,
                )
                for subject in subjects
            ),
            batch_size=1000,
        )
    return batch


def _was_asked(batch: UUID) -> bool:
    """Say whether a batch is written down; whoever asks for the same at this moment waits for this transaction."""
    locks.take(f"batch {batch}")
    return Intervention.objects.filter(batch=batch).exists()


def _checked(result: Any) -> Any:
    if result is None:
        return None
    if not isinstance(result, dict):
        raise NotNow('The result is a JSON object such as {"tracking_number": "PX1"}.')
    try:
        return storable_result(result)
    except (TypeError, ValueError) as error:
        raise NotNow(f"The result cannot be stored: {error}") from error


def result_from(text: str) -> dict[str, Any] | None:
    """Return the result a person typed as JSON; None if they typed nothing.

    Raises:
        NotNow: it is no JSON object.
    """
    if not text.strip():
        return None
    try:
        typed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotNow(f"The result is not JSON: {error}") from error
    checked: dict[str, Any] = _checked(typed)
    return checked


def progress(batch: UUID) -> Progress:
    """Return how far a batch is."""
    counts = Intervention.objects.filter(batch=batch).aggregate(
        total=Count("id"), done=Count("id", filter=Q(status="done")), refused=Count("id", filter=Q(status="refused"))
    )
    return Progress(**counts)


# Doing ----------------------------------------------------------------------------------------------------------------


def work(*, now: datetime, batch: UUID | None = None, limit: int = PORTION) -> Worked:
    """Do the oldest pending interventions, of one batch or of all, in as many statements as for one.

    Any number of processes may work: each takes others. What is locked, by a worker at its step, is left for the
    next turn.

    Transaction: opens one.
    Idempotent: by intervention.
    """
    with transaction.atomic():
        pending: QuerySet[Intervention] = (
            Intervention.objects.claimed().filter(status=Intervention.Status.PENDING).exclude(action=Action.REPLAY)
        )
        asked = list(pending.filter(batch=batch)[:limit] if batch else pending[:limit])
        portion = _Portion(
            now,
            *_lock([row.run_id for row in asked if row.run_id is not None]),
            _lock_deliveries([row.delivery_id for row in asked if row.delivery_id is not None]),
            _lock_followers([row for row in asked if row.follower_id is not None]),
        )
        rows = [
            row
            for row in asked
            if row.run_id in portion.runs or row.delivery_id in portion.parked or row.follower_id in portion.following
        ]
        for row in rows:
            row.done_at = now
            try:
                portion.do(row)
            except NotNow as refused:
                row.status, row.outcome = Intervention.Status.REFUSED, str(refused)
            else:
                row.status = Intervention.Status.DONE
        chains, owed = portion.save()
        update_all(rows, ("status", "outcome", "done_at", "step"))
    done = sum(row.status == Intervention.Status.DONE for row in rows)
    return Worked(done=done, refused=len(rows) - done, wake_ups=chains, deliveries=owed)


def _lock(run_ids: Sequence[UUID]) -> tuple[dict[UUID, Run], dict[UUID, StepRun]]:
    """Lock runs, in the order everybody locks them, and return them with the step each stands at."""
    runs = {run.id: run for run in Run.objects.claimed().filter(id__in=run_ids)}
    rows = StepRun.objects.filter(run__in=runs)
    return runs, {row.run_id: row for row in rows if row.place == runs[row.run_id].place}


def _lock_deliveries(pks: Sequence[int]) -> dict[int, Delivery]:
    return {row.pk: row for row in Delivery.objects.claimed().filter(pk__in=pks)}


def _lock_followers(asked: Sequence[Intervention]) -> dict[str, Follower]:
    if not asked:
        return {}
    if any(row.action == Action.SKIP for row in asked):
        # Before the rows, as the relay does, which moves them.
        locks.take(locks.Lock.LOG)
    return {row.name: row for row in Follower.objects.claimed().filter(pk__in=[row.follower_id for row in asked])}


class _Portion:
    """Subjects locked by this transaction, changed in memory one by one and saved together."""

    def __init__(
        self,
        now: datetime,
        runs: dict[UUID, Run],
        current: dict[UUID, StepRun],
        parked: dict[int, Delivery],
        following: dict[str, Follower],
    ) -> None:
        self.now = now
        self.runs, self.current, self.parked, self.following = runs, current, parked, following
        self.changed: list[Run] = []
        self.rows: list[StepRun] = []
        self.turning: list[Run] = []
        self.undone: list[StepRun] = []
        self.again: list[Delivery] = []
        self.skipped: list[Delivery] = []

    def do(self, asked: Intervention) -> None:
        """Do one.

        Raises:
            NotNow: it does not apply; nothing was changed.
        """
        if asked.delivery_id is not None:
            self._do_to_delivery(asked, self.parked[asked.delivery_id])
            return
        if asked.follower_id is not None:
            self._do_to_follower(asked, self.following[asked.follower_id])
            return
        self._do_to_run(asked)

    def _do_to_run(self, asked: Intervention) -> None:
        run = self.runs[asked.run_id]  # type: ignore[index] # one of the three is set
        row = self.current.get(run.id)
        asked.step = "" if row is None else row.name
        _refuse_if_moved_on(asked, run)
        if row is None or asked.action not in possible(run, row, now=self.now):
            raise NotNow(f"{asked.action} does not apply: the run {_standing(run)} at {asked.step}.")
        match asked.action:
            case Action.RETRY:
                # An unanswered call stays unanswered: the next try asks first.
                row.status = StepStatus.PENDING if row.status == StepStatus.FAILED else row.status
                row.attempts, row.lost_tries, row.held_until, row.finished_at = 0, 0, None, None
                _wake(run, self.now)
            case Action.RESUME:
                _wake(run, self.now)
                if row.held_until is not None and row.held_until > self.now:
                    run.due_at = row.held_until  # a call is still under way, or a try not yet due
            case Action.SKIP:
                self._skip(run, row, asked.result)
            case Action.UNDO:
                self._turn(run, Failure(step="", kind=FailureKind.UNDONE, error="Undone", message=asked.reason))
            case Action.CANCEL:
                self._turn(run, Failure(step="", kind=FailureKind.CANCELLED, error="Cancelled", message=asked.reason))
            case Action.PAUSE:
                run.resumes_as, run.stopped_at, run.status = run.status, self.now, RunStatus.PAUSED
        self.changed.append(run)
        self.rows.append(row)

    def save(self) -> tuple[list[WakeUp], list[DeliveryWakeUp]]:
        """Save what changed; return the messages to send once it is committed."""
        update_all(self.rows, _ROW_FIELDS)
        update_all(self.changed, _RUN_FIELDS)
        for row in self.undone:
            StepRun.objects.filter(run=row.run_id, step=row.step, action=StepRun.Action.RUN).update(
                status=StepStatus.UNDONE
            )
        # A run whose saga this process does not know keeps its failure: one that knows it turns it back.
        chains = undo_runs(self.turning, now=self.now) if self.turning else []
        chains += wake_ups_of([run for run in self.changed if run not in self.turning])
        return chains, send_again(self.again, now=self.now) + skip_deliveries(self.skipped, now=self.now)

    def _skip(self, run: Run, row: StepRun, result: Any) -> None:
        run.epoch += 1
        if run.status != RunStatus.PAUSED:
            _wake(run, self.now)
        row.started_at = row.started_at or self.now
        advance(run, row, result, now=self.now)
        if row.action == StepRun.Action.UNDO:
            self.undone.append(row)

    def _turn(self, run: Run, failure: Failure) -> None:
        _wake(run, self.now)
        set_failure(run, failure)
        self.turning.append(run)

    def _do_to_delivery(self, asked: Intervention, delivery: Delivery) -> None:
        asked.step = delivery.subscription
        _refuse_if_moved_on(asked, delivery)
        if asked.action not in possible(delivery, now=self.now):
            raise NotNow(f"{asked.action} does not apply: the delivery is {delivery.status}.")
        # Told apart from the status it has now by whoever asks a second time in this portion.
        delivery.status = DeliveryStatus.PENDING if asked.action == Action.RETRY else DeliveryStatus.SKIPPED
        (self.again if asked.action == Action.RETRY else self.skipped).append(delivery)

    def _do_to_follower(self, asked: Intervention, follower: Follower) -> None:
        _refuse_if_moved_on(asked, follower)
        if asked.action not in possible(follower, now=self.now):
            raise NotNow(f"{asked.action} does not apply to {follower.name}.")
        if asked.action == Action.SKIP:
            follower.position = followers.head()
            follower.save(update_fields=["position"])
            return
        follower.paused_at = self.now if asked.action == Action.PAUSE else None
        follower.save(update_fields=["paused_at"])


def _refuse_if_moved_on(asked: Intervention, subject: Subject) -> None:
    if seen(subject) != asked.seen:
        raise NotNow(f"It moved on meanwhile: it {_standing(subject)} now. Nothing was changed.")


def _standing(subject: Subject) -> str:
    return "needs attention" if subject.status == RunStatus.NEEDS_ATTENTION else f"is {subject.status}"


_ROW_FIELDS = ("status", "attempts", "lost_tries", "lease_token", "held_until", "started_at", "finished_at")
_RUN_FIELDS = (
    "status",
    "resumes_as",
    "stopped_at",
    "epoch",
    "place",
    "results",
    "failure",
    "attention",
    "due_at",
    "resends",
    "deadline_at",
    "finished_at",
)


def _wake(run: Run, now: datetime) -> None:
    """Have a stopped run go on; the time it stood still does not count towards its deadline."""
    if run.status in STOPPED_RUNS:
        run.status = run.direction
        if run.deadline_at is not None and run.stopped_at is not None:
            run.deadline_at += now - run.stopped_at
        run.resumes_as, run.stopped_at = "", None
    run.attention, run.resends, run.due_at = None, 0, now
