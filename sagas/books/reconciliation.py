"""The reconciliation: compares, in turns, the expected state with the stored one; keeps a finding where they differ.

It knows no context. Checks say what should be true; this module chooses the keys they look at, and writes their
breaches. A turn reads the keys with new events, the keys of standing findings, and a slice of everything else, so its
cost does not grow with history.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from django.db import connection, transaction
from django.db.models import Q

from ..core.books import Breach, Check, Scope, Walk
from ..core.errors import TransactionRefusedError
from ..core.statuses import FindingStatus
from ..db import locks
from ..db.read import one_moment
from ..db.storable import message_of, storable_result
from ..models import Event, Finding, Reconciliation

logger = structlog.get_logger(__name__)

T = TypeVar("T")

#: Maximum number of events that one turn reads.
_EVENTS = 4000
#: Positions are assigned before the commit, and transactions commit in any order. So each turn reads this many earlier
#: positions again. An event is missed only if so many later ones commit before its own transaction does.
_OVERLAP = 1000
#: A key is checked a second time this long after an event: for a state that is a breach only after a while,
#: for missed events, and for changes by hand after the end of the process.
_LOOK_AGAIN_AFTER = timedelta(minutes=5)
#: Time limit of the statements of a check, so that no check holds up the others.
_MAX_SECONDS_PER_STATEMENT = 10
#: Name of the findings about checks that raised an error.
BROKEN = "reconciliation"


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """The outcome of one turn; `more`: events are left for the next turn."""

    keys: int = 0
    found: int = 0
    cleared: int = 0
    more: bool = False


@dataclass(kw_only=True)
class _Turn:
    """The data read in the snapshot; `broken`: the error of each check or walk that raised one, by name."""

    state: Reconciliation
    scope: Scope
    more: bool
    breaches: dict[tuple[str, str], Breach] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def reconcile(*, now: datetime, checks: Sequence[Check], walks: Sequence[Walk] = ()) -> Reconciled:
    """Make one turn: run the checks, write new findings, refresh those that stand, clear those that are true again.

    Checks the keys of new events, the keys of events five minutes old (a second time), the keys of standing findings,
    and the next slice of every walk. Any number of reconcilers may run: one works, the others return at once.

    Transaction: refuses one. Reads in one snapshot, so that concurrent changes are no breach; writes in a second
    transaction, unless another turn was made in between.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("the reconciliation reads in a snapshot of its own")
    with _snapshot() as has_lock:
        if not has_lock:
            return Reconciled()
        turn = _start_turn(now, (*walks, _STANDING))
        for check in checks:
            _look(check, turn)
    with transaction.atomic():
        if not _take(turn.state, now):
            return Reconciled()
        found, cleared = _write(turn, checks, now)
    for finding in found:
        logger.warning("books_do_not_balance", check=finding.check_name, key=finding.key, message=finding.message)
    return Reconciled(keys=len(turn.scope.keys), found=len(found), cleared=cleared, more=turn.more)


def dismiss(*, finding_ids: Collection[int], by: str, reason: str, now: datetime) -> int:
    """Take findings out of the queue although they still stand; return how many were open.

    A dismissed finding opens again when its facts change.

    Transaction: a single statement.
    Idempotent: by finding.

    Raises:
        ValueError: there is no reason.
    """
    if not reason.strip():
        raise ValueError("a finding is dismissed with a reason")
    return Finding.objects.filter(pk__in=finding_ids, status=FindingStatus.OPEN).update(
        status=FindingStatus.DISMISSED, dismissed_at=now, dismissed_by=by, dismissed_reason=reason.strip()[:500]
    )


# Looking ---------------------------------------------------------------------------------------------------------


@contextmanager
def _snapshot() -> Iterator[bool]:
    """Open a read-only transaction with one snapshot; say whether it has the reconciliation's lock."""
    with one_moment(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{_MAX_SECONDS_PER_STATEMENT}s'")
        yield locks.take_if_free(locks.Lock.RECONCILIATION)


def _start_turn(now: datetime, walks: Sequence[Walk]) -> _Turn:
    """Return the keys of this turn, and the positions it reaches."""
    state = Reconciliation.objects.first()
    if state is None:
        # The walks cover the events from before the first turn.
        newest = Event.objects.order_by("-position").values_list("position", flat=True).first() or 0
        start = max(0, newest - _EVENTS)
        state = Reconciliation(turned_at=now, checked_position=start, rechecked_position=start)
    new = list(
        Event.objects.filter(position__gt=state.checked_position - _OVERLAP)
        .order_by("position")
        .values_list("position", "key")[:_EVENTS]
    )
    rested = _rested(state.rechecked_position, now)
    keys = {key for _, key in (*new, *rested)}
    broken: dict[str, str] = {}
    marks = dict(state.walks)
    for walk in walks:
        with _isolated(walk.name, broken):
            found, marks[walk.name] = walk.step(state.walks.get(walk.name, ""), walk.limit)
            keys.update(found)
    state.walks = marks
    state.checked_position = max([state.checked_position, *(position for position, _ in new[-1:])])
    state.rechecked_position = max([state.rechecked_position, *(position for position, _ in rested[-1:])])
    scope = Scope(keys=tuple(sorted(keys)), now=now)
    return _Turn(state=state, scope=scope, more=_EVENTS in (len(new), len(rested)), broken=broken)


def _rested(after: int, now: datetime) -> list[tuple[int, str]]:
    """Return position and key of events that are old enough for the second check and have not had it."""
    events = (
        Event.objects.filter(position__gt=after)
        .order_by("position")
        .values_list("position", "key", "occurred_at")[:_EVENTS]
    )
    rested = []
    for position, key, occurred_at in events:
        # An event of the far future comes from a wrong clock; the second check does not wait for it.
        if now - _LOOK_AGAIN_AFTER < occurred_at < now + timedelta(hours=1):
            break
        rested.append((position, key))
    return rested


def _after_standing(after: str, limit: int) -> tuple[Collection[str], str]:
    rows = list(
        Finding.objects.filter(cleared_at=None, pk__gt=int(after or 0)).order_by("pk").values_list("pk", "key")[:limit]
    )
    return [key for _, key in rows], str(rows[-1][0]) if len(rows) == limit else ""


#: Keys of standing findings are checked again, so that findings clear: all in every turn, up to the limit of a walk.
_STANDING = Walk(name="standing findings", step=_after_standing)


def _look(check: Check, turn: _Turn) -> None:
    """Run one check; if it raises, its findings stay as they are."""
    with _isolated(check.name, turn.broken):
        breaches = [_storable(breach) for breach in check.look(turn.scope)]
        turn.breaches |= {(check.name, breach.key): breach for breach in breaches}


@contextmanager
def _isolated(name: str, broken: dict[str, str]) -> Iterator[None]:
    """Note an exception raised inside instead of raising it: one broken check must not stop the others.

    Raises:
        Exception: the error, if it broke the connection.
    """
    try:
        with transaction.atomic():
            yield
    except Exception as error:
        if not connection.is_usable():
            raise
        logger.exception("check_cannot_be_made", check=name)
        broken[name] = f"{type(error).__name__}: {message_of(error)}"


def _storable(breach: Breach) -> Breach:
    return replace(breach, facts=storable_result(breach.facts), moving=storable_result(breach.moving))


# Writing ---------------------------------------------------------------------------------------------------------


def _take(state: Reconciliation, now: datetime) -> bool:
    """Make this the next turn; False if another turn, with a later snapshot, was made meanwhile."""
    if state.turn == 0:
        Reconciliation.objects.bulk_create([Reconciliation(turned_at=now)], ignore_conflicts=True)
    taken = Reconciliation.objects.filter(turn=state.turn).update(
        turn=state.turn + 1,
        turned_at=now,
        checked_position=state.checked_position,
        rechecked_position=state.rechecked_position,
        walks=state.walks,
    )
    return bool(taken)


def _write(turn: _Turn, checks: Sequence[Check], now: datetime) -> tuple[list[Finding], int]:
    """Compare the breaches with the standing findings; return the new findings, and how many were cleared."""
    new = turn.breaches | {(BROKEN, name): _broken(name, why) for name, why in turn.broken.items()}
    made = [check for check in checks if check.name not in turn.broken]
    whole = [BROKEN, *(check.name for check in made if check.whole)]
    by_key = [check.name for check in made if not check.whole]
    keys = {*turn.scope.keys, *(key for _, key in new)}
    covered = Q(check_name__in=whole) | Q(check_name__in=by_key, key__in=keys)
    seen, changed, gone = [], [], []
    for finding in Finding.objects.filter(covered, cleared_at=None).order_by("pk").select_for_update():
        breach = new.get((finding.check_name, finding.key))
        if breach is None or (finding.status == FindingStatus.DISMISSED and not _covers(finding, breach)):
            gone.append(finding.pk)
            continue
        del new[finding.check_name, finding.key]
        facts = breach.facts | breach.moving
        if (finding.message, finding.facts) == (breach.message, facts):
            seen.append(finding.pk)
        else:
            finding.message, finding.facts, finding.last_seen_at = breach.message, facts, now
            changed.append(finding)
    _clear(gone, now)
    Finding.objects.filter(pk__in=seen).update(last_seen_at=now)
    Finding.objects.bulk_update(changed, ("message", "facts", "last_seen_at"))
    found = Finding.objects.bulk_create(_finding(name, breach, now) for (name, _), breach in new.items())
    return found, len(gone)


def _broken(name: str, why: str) -> Breach:
    return Breach(key=name, message=f"The check {name} cannot be made: {why[:500]}", facts={"error": why[:2000]})


def _covers(dismissed: Finding, breach: Breach) -> bool:
    """Say whether the dismissal covers this breach."""
    return {name: dismissed.facts.get(name) for name in breach.facts} == breach.facts


def _clear(finding_ids: Collection[int], now: datetime) -> None:
    gone = Finding.objects.filter(pk__in=finding_ids)
    gone.filter(status=FindingStatus.DISMISSED).update(cleared_at=now)
    gone.filter(status=FindingStatus.OPEN).update(status=FindingStatus.CLEARED, cleared_at=now)


def _finding(check_name: str, breach: Breach, now: datetime) -> Finding:
    return Finding(
        check_name=check_name,
        key=breach.key,
        message=breach.message,
        facts=breach.facts | breach.moving,
        found_at=now,
        last_seen_at=now,
    )
