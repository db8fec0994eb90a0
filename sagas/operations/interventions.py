"""Interventions: each is first written with its reason, and executed afterwards.

It is executed only if its subject still has the version that the person saw (optimistic lock). Several form one batch,
and any process executes the next portion. A replay is an intervention too; `replays` executes it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Model, Q, QuerySet

from ..core.ids import new_id
from ..core.statuses import Action, InterventionStatus
from ..db import locks
from ..db.rows import update_all
from ..db.storable import storable_result
from ..engine.wake_ups import DeliveryWakeUp, WakeUp
from ..models import Intervention
from . import subjects
from .subject import Messages, NotNow, Subject

#: Maximum number of interventions in one transaction; bounds how long their rows are locked.
PORTION = 100


@dataclass(frozen=True, kw_only=True)
class Worked:
    """The outcome of a portion, and the messages to send now that it is committed."""

    done: int = 0
    refused: int = 0
    wake_ups: list[WakeUp] = field(default_factory=list)
    deliveries: list[DeliveryWakeUp] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a batch."""

    total: int
    done: int
    refused: int

    @property
    def pending(self) -> int:
        return self.total - self.done - self.refused


# Asking ---------------------------------------------------------------------------------------------------------------


def ask(
    rows: Iterable[Model],
    action: Action,
    *,
    reason: str,
    by: str,
    now: datetime,
    version_tokens: str | Mapping[tuple[str, str], str] | None = None,
    result: Any = None,
    replay: Mapping[str, Any] | None = None,
    batch: UUID | None = None,
) -> UUID:
    """Write interventions down; `work` executes them. Return the id of their batch, for `progress`.

    Transaction: opens one.
    Idempotent: by `batch`; a form that is sent twice makes one batch.

    Args:
        rows: of the kinds in `subjects.KINDS`.
        version_tokens: the version that the person saw, of the one subject, or of each by its kind and primary key; the
            current version if not given.
        result: the result of a skipped step, a JSON object.
        replay: the terms of a replay, as `Intervention.replay` describes them.

    Raises:
        NotNow: there is no reason, the result cannot be stored, or a subject's kind has no such action.
    """
    reason = reason.strip().replace("\x00", "")
    if not reason:
        raise NotNow("A reason is needed: it is read by the next person who looks at this.")
    given, batch = batch, batch or new_id()
    tokens = version_tokens or {}
    asked = [subjects.of(row) for row in rows]
    for subject in asked:
        if subject.operation(action) is None:
            raise NotNow(f"{action} is nothing that a {subject.kind} has.")
    with transaction.atomic():
        if given is not None and _was_asked(given):
            return given
        Intervention.objects.bulk_create(
            (
                Intervention(
                    batch=batch,
                    kind=subject.kind,
                    subject_id=str(subject.row.pk),
                    key=subject.key,
                    action=action,
                    reason=reason,
                    by=by[:150],
                    version_token=_token(subject, tokens)[:40],
                    result=_checked(result),
                    replay=replay,
                    asked_at=now,
                )
                for subject in asked
            ),
            batch_size=1000,
        )
    return batch


def _token(subject: Subject[Any], tokens: str | Mapping[tuple[str, str], str]) -> str:
    if isinstance(tokens, str):
        return tokens
    return tokens.get((subject.kind, str(subject.row.pk)), subject.version_token)


def _was_asked(batch: UUID) -> bool:
    """Say whether a batch exists; a second request for it waits here for the first one's transaction."""
    locks.take(f"batch {batch}")
    return Intervention.objects.filter(batch=batch).exists()


def _checked(result: Any) -> Any:
    if result is None:
        return None
    if not isinstance(result, dict):
        raise NotNow('The result is a JSON object such as {"reference": "A7"}.')
    try:
        return storable_result(result)
    except (TypeError, ValueError) as error:
        raise NotNow(f"The result cannot be stored: {error}") from error


def result_from(text: str) -> dict[str, Any] | None:
    """Return the result that a person typed as JSON; None if nothing was typed.

    Raises:
        NotNow: it is not a JSON object.
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
    """Return the progress of a batch."""
    counts = Intervention.objects.filter(batch=batch).aggregate(
        total=Count("id"), done=Count("id", filter=Q(status="done")), refused=Count("id", filter=Q(status="refused"))
    )
    return Progress(**counts)


# Doing ----------------------------------------------------------------------------------------------------------------


def work(*, now: datetime, batch: UUID | None = None, limit: int = PORTION) -> Worked:
    """Execute the oldest pending interventions, of one batch or of all, in as many statements as for one.

    Any number of processes may work: each takes different rows. A subject that a worker has locked waits for the next
        turn.

    Transaction: opens one.
    Idempotent: by intervention.
    """
    with transaction.atomic():
        pending: QuerySet[Intervention] = (
            Intervention.objects.claimed()
            .filter(status=InterventionStatus.PENDING, kind__in=subjects.KINDS)
            .exclude(action=Action.REPLAY)
        )
        asked = list(pending.filter(batch=batch)[:limit] if batch else pending[:limit])
        wake_ups: list[WakeUp] = []
        deliveries: list[DeliveryWakeUp] = []
        for kind in reversed(subjects.KINDS.values()):
            messages = _work_on(kind, [row for row in asked if row.kind == kind.kind], now)
            wake_ups += messages.wake_ups
            deliveries += messages.deliveries
        over = [row for row in asked if row.done_at is not None]
        update_all(over, ("status", "outcome", "done_at", "applied_to"))
    done = sum(row.status == InterventionStatus.DONE for row in over)
    return Worked(done=done, refused=len(over) - done, wake_ups=wake_ups, deliveries=deliveries)


def _work_on(kind: type[Subject[Any]], asked: Sequence[Intervention], now: datetime) -> Messages:
    """Execute the interventions on one kind; those on locked subjects stay pending."""
    if not asked:
        return Messages()
    locked = {str(subject.row.pk): subject for subject in kind.lock(asked)}
    changed: dict[str, Subject[Any]] = {}
    for row in asked:
        subject = locked.get(row.subject_id)
        if subject is None:
            continue
        row.applied_to, row.done_at = subject.applied_to, now
        try:
            _do(subject, row, now)
        except NotNow as refused:
            row.status, row.outcome = InterventionStatus.REFUSED, str(refused)
        else:
            row.status = InterventionStatus.DONE
            changed[row.subject_id] = subject
    _refuse_what_is_gone(kind, [row for row in asked if row.subject_id not in locked], now)
    return kind.save(list(changed.values()), now=now)


def _do(subject: Subject[Any], asked: Intervention, now: datetime) -> None:
    """Change a subject in memory.

    Raises:
        NotNow: the subject has another version, or the action does not apply; nothing was changed.
    """
    if subject.version_token != asked.version_token:
        raise NotNow(f"It moved on meanwhile: it {subject.standing} now. Nothing was changed.")
    operation = subject.operation(asked.action)
    if operation is None or not operation.is_possible(subject, now=now):
        raise NotNow(subject.refusal(Action(asked.action)))
    operation.apply(subject, asked, now=now)


def _refuse_what_is_gone(kind: type[Subject[Any]], rows: Sequence[Intervention], now: datetime) -> None:
    """Refuse the interventions whose subject was deleted; otherwise they would stay pending for ever."""
    if not rows:
        return
    there = {str(pk) for pk in kind.rows(row.subject_id for row in rows).values_list("pk", flat=True)}
    for row in rows:
        if row.subject_id not in there:
            row.status, row.outcome, row.done_at = InterventionStatus.REFUSED, f"The {kind.kind} is gone.", now
