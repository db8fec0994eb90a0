"""Tries: work is claimed, done and settled, the same for steps of runs and for deliveries.

Inside, all of it is one transaction: claim, effect, journal. Outside, one transaction claims with a lease, the call is
made in none, and another transaction settles, if the lease is still valid.

A batch is one call if the work is written for many calls; otherwise each is called in its own savepoint. Claims without
an outcome are left: the caller sends a single message for each.
"""

import math
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

import structlog
from django.db import connection, transaction

from ..core.cause import caused_by, caused_by_each
from ..core.errors import TransactionRefusedError
from ..db.constraints import check_constraints
from ..db.storable import message_of
from ..db.time_limit import time_limit
from .claim import Claim, Verdict, is_cut_short_by_others
from .failures import Failed, journal

logger = structlog.get_logger(__name__)

Clock = Callable[[], datetime]
C = TypeVar("C", bound=Claim)


class Work(ABC, Generic[C]):
    """The work of one message; reads and writes the rows of its claims. Each method requires a transaction."""

    @property
    @abstractmethod
    def is_batch(self) -> bool:
        """Say whether the message names more than one row."""

    @abstractmethod
    def claim(self, now: datetime) -> list[C]:
        """Lock the rows that are due and that no other worker holds."""

    @abstractmethod
    def count_lost(self, claims: Sequence[C]) -> None:
        """Count tries of inside work that left no trace."""

    @abstractmethod
    def save_leases(self, claims: Sequence[C]) -> None:
        """Save the leases of calls outside, before the calls."""

    @abstractmethod
    def held(self, claims: Sequence[C]) -> list[C]:
        """Lock the rows again and return the claims whose lease is still valid."""

    @abstractmethod
    def save(self, claims: Sequence[C]) -> None:
        """Save the outcomes of tries."""

    def give_up(self, claim: C, error: Exception, verdict: Verdict, now: datetime) -> None:
        """Apply the consequences of giving up, before the rows are saved."""


@dataclass(kw_only=True)
class Taken(Generic[C]):
    """The outcome of one message.

    Attributes:
        done: succeeded.
        failed: failed; those with a try left are due later.
        left: not tried, or without an outcome; each is to be sent in a single message.
    """

    done: list[C] = field(default_factory=list)
    failed: list[C] = field(default_factory=list)
    left: list[C] = field(default_factory=list)

    @property
    def all(self) -> list[C]:
        return [*self.done, *self.failed, *self.left]


def take(work: Work[C], clock: Clock) -> Taken[C]:
    """Do the work of one message.

    Transaction: refuses one; opens its own.
    Idempotent: settled rows, and rows held by another worker, are not claimed.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("the engine commits its own transactions")
    taken: Taken[C] = Taken()
    for leased in _take_inside(work, taken, clock):
        _call_outside(work, leased, taken, clock)
    return taken


def _take_inside(work: Work[C], taken: Taken[C], clock: Clock) -> list[list[C]]:
    """Claim; do inside work; return the claims that are leased for calls outside."""
    counted = False
    while True:
        with transaction.atomic():
            claims = work.claim(clock())
            for claim in claims:
                if claim.sent_again and claim.work.outside:
                    claim.row.lost_tries += 1  # saved with its lease, before the call
            given_up = [claim for claim in claims if claim.is_given_up]
            fit = [claim for claim in _without(claims, given_up) if not work.is_batch or claim.fits_a_batch]
            doubtful = [] if counted else [claim for claim in fit if claim.sent_again and not claim.work.outside]
            if not doubtful:
                taken.failed += given_up
                taken.left += _without(claims, (*given_up, *fit))
                return _take_claimed(work, fit, taken, clock)
            # In its own commit, before the effect: work that kills its worker must not be repeated for ever.
            work.count_lost(doubtful)
        counted = True


def _take_claimed(work: Work[C], claims: Sequence[C], taken: Taken[C], clock: Clock) -> list[list[C]]:
    leased = []
    for alike in _by_kind(claims):
        if alike[0].work.outside:
            now = clock()
            for claim in alike:
                claim.note_try(now)
            work.save_leases(alike)
            leased.append(alike)
        else:
            tried = _try_inside(alike, clock)
            _settle(work, tried, taken, clock())
            taken.left += _without(alike, tried)
    return leased


def _by_kind(claims: Iterable[C]) -> Iterable[list[C]]:
    groups: dict[Hashable, list[C]] = defaultdict(list)
    for claim in claims:
        groups[claim.kind].append(claim)
    return groups.values()


def _without(claims: Iterable[C], others: Iterable[C]) -> list[C]:
    those = set(others)
    return [claim for claim in claims if claim not in those]


# Inside -------------------------------------------------------------------------------------------------------------


def _try_inside(claims: Sequence[C], clock: Clock) -> dict[C, Exception | None]:
    """Do inside work; return the exception of each claim, None for success. A claim that is missing was not tried."""
    if len(claims) > 1 and claims[0].many is not None:
        tried = _try_together(claims, clock())
        if tried is not None:
            return tried
    return _try_each(claims, clock)


def _try_together(claims: Sequence[C], now: datetime) -> dict[C, Exception | None] | None:
    """Call work that is written for many calls, in a savepoint; None if it raised: then it had no effect."""
    for claim in claims:
        claim.note_try(now)
    tried: dict[C, Exception | None] | None = None
    try:
        with transaction.atomic():
            tried = _outcomes(claims, now)
            check_constraints()
    except Exception as error:  # noqa: BLE001 - the engine isolates the work of others
        tried = None
        _warn(claims, error)
    for claim in _without(claims, tried or ()):
        claim.uncount_try()
    return tried


def _try_each(claims: Sequence[C], clock: Clock) -> dict[C, Exception | None]:
    """Do inside work for each claim in its own savepoint, in all for as long as one try may take."""
    until = time.monotonic() + claims[0].limit_seconds
    tried: dict[C, Exception | None] = {}
    for claim in claims:
        left_seconds = math.inf if len(claims) == 1 else until - time.monotonic()
        if left_seconds <= 0:
            break
        claim.note_try(clock())
        error = _in_savepoint(claim, min(claim.limit_seconds, left_seconds))
        if is_cut_short_by_others(error, claim, left_seconds):
            claim.uncount_try()
            break
        tried[claim] = error
    return tried


def _in_savepoint(claim: Claim, max_seconds: float) -> Exception | None:
    """Do the work; return its exception, with its effect rolled back."""
    assert claim.tried_at is not None  # noqa: S101 - noted by the caller
    try:
        with caused_by(claim.cause), transaction.atomic(), time_limit(max_seconds):
            claim.keep(claim.perform(claim.tried_at))
            check_constraints()
    except Exception as error:  # noqa: BLE001 - the engine isolates the work of others
        return error
    return None


def _outcomes(claims: Sequence[C], now: datetime) -> dict[C, Exception | None]:
    """Call work that is written for many calls, and keep its outcomes."""
    many = claims[0].many
    assert many is not None  # noqa: S101 - asked by the caller
    with caused_by_each({claim.key: claim.cause for claim in claims}), time_limit(claims[0].limit_seconds):
        outcomes: Mapping[Any, Any] = many([claim.call(now) for claim in claims])
    tried: dict[C, Exception | None] = {}
    for claim in claims:
        if claim.id in outcomes:
            outcome = outcomes[claim.id]
            tried[claim] = outcome if isinstance(outcome, Exception) else None
            if tried[claim] is None:
                claim.keep(outcome)
    return tried


# Outside ------------------------------------------------------------------------------------------------------------


def _call_outside(work: Work[C], leased: Sequence[C], taken: Taken[C], clock: Clock) -> None:
    """Make leased calls outside of a transaction and settle them in one."""
    tried = _call_alone(leased[0], clock) if len(leased) == 1 else _call_together(leased, clock)
    with transaction.atomic():
        held = work.held(leased)
        for claim in _without(leased, held):
            logger.warning("lease_lost", key=claim.key, step=claim.work.name)
        now = clock()
        unanswered = _without(held, tried)
        for claim in unanswered:
            claim.note_unanswered(now)
        work.save(unanswered)
        _settle(work, {claim: tried[claim] for claim in held if claim in tried}, taken, now)
    taken.left += unanswered


def _call_alone(claim: C, clock: Clock) -> dict[C, Exception | None]:
    assert claim.tried_at is not None  # noqa: S101 - noted with the lease
    try:
        with caused_by(claim.cause), time_limit(claim.limit_seconds):
            claim.keep(claim.perform(claim.tried_at, clock))
    except Exception as error:  # noqa: BLE001 - the engine isolates the work of others
        return {claim: error}
    return {claim: None}


def _call_together(claims: Sequence[C], clock: Clock) -> dict[C, Exception | None]:
    try:
        now = clock()
        if all(claim.is_in_time(now) for claim in claims):
            return _outcomes(claims, now)
    except Exception as error:  # noqa: BLE001 - the engine isolates the work of others
        _warn(claims, error)
    return {}


def _warn(claims: Sequence[Claim], error: Exception) -> None:
    logger.warning("batch_failed", work=claims[0].work.name, error=message_of(error), size=len(claims))


# Settling -----------------------------------------------------------------------------------------------------------


def _settle(work: Work[C], tried: Mapping[C, Exception | None], taken: Taken[C], now: datetime) -> None:
    """Write the outcomes of tries to the journal."""
    failures = []
    for claim, error in tried.items():
        if error is None:
            claim.note_done(now)
            taken.done.append(claim)
            continue
        verdict = claim.note_failed(error, now)
        if verdict.is_given_up:
            work.give_up(claim, error, verdict, now)
        failures.append(Failed(claim=claim, error=error, verdict=verdict, at=now))
        taken.failed.append(claim)
    work.save(list(tried))
    journal(failures)
