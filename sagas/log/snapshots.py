"""Snapshots: the state of a subject at one of its events, so that the events before it need not be read again.

A snapshot is a cache: it may be deleted at any time, and one with another fingerprint of its fold is ignored. It pays
for a subject with many events and a small state (docs/event-sourcing.md), such as an account.

The events of one subject have no gaps and commit in the order of their sequence, because of the unique constraint: all
events after a snapshot have a higher sequence.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, NamedTuple

from django.db import connection
from pydantic import ValidationError

from ..core.events import Data
from ..core.folds import AnyState, Fold
from ..models import Event, Snapshot

#: After this many events a new snapshot is worth its cost: docs/event-sourcing.md has the figures.
EVERY = 100


class Row(NamedTuple):
    """The columns of an event that a fold reads; a model instance costs several times as much."""

    type: str
    version: int
    data: Data
    occurred_at: datetime
    sequence: int


@dataclass(frozen=True, kw_only=True)
class Reached(Generic[AnyState]):
    """The current state of a subject.

    Attributes:
        sequence: sequence of its last event; 0 if there is none.
        read: number of events that were read.
        is_kept: it was written as a new snapshot.
    """

    state: AnyState
    sequence: int
    read: int
    is_kept: bool = False


def state_of(fold: Fold[AnyState], *, aggregate: str, subject: str) -> Reached[AnyState]:
    """Return the current state of a subject, from its snapshot, if there is one, and the events after it.

    Transaction: needs none; two statements.

    Raises:
        UnreadableEventError: a payload that today's code cannot read.
    """
    kept = _kept(fold, aggregate, subject) or Reached(state=fold.start, sequence=0, read=0)
    after = Event.objects.filter(aggregate=aggregate, subject=subject, sequence__gt=kept.sequence)
    events = [Row(*row) for row in after.order_by("sequence").values_list(*Row._fields)]
    return Reached(
        state=fold.of(events, after=kept.state),
        sequence=events[-1].sequence if events else kept.sequence,
        read=len(events),
    )


def current(fold: Fold[AnyState], *, aggregate: str, subject: str, every: int = EVERY) -> Reached[AnyState]:
    """As `state_of`; stores the state as a snapshot if enough events had to be read.

    Transaction: needs none; the last statement may write.
    Idempotent: by fold and subject; a snapshot older than the stored one is not written.

    Raises:
        UnreadableEventError: a payload that today's code cannot read.
    """
    reached = state_of(fold, aggregate=aggregate, subject=subject)
    if reached.read < max(1, every):
        return reached
    state = reached.state.model_dump_json()
    row: list[Any] = [fold.name, aggregate, subject, fold.fingerprint, reached.sequence, state]
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, row)
        return replace(reached, is_kept=bool(cursor.rowcount))


_KEEP = """
    INSERT INTO sagas_snapshot AS kept (fold, aggregate, subject, fingerprint, sequence, state)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (fold, aggregate, subject) DO UPDATE SET fingerprint = EXCLUDED.fingerprint,
        sequence = EXCLUDED.sequence, state = EXCLUDED.state
    WHERE kept.sequence < EXCLUDED.sequence OR kept.fingerprint <> EXCLUDED.fingerprint
    """


def _kept(fold: Fold[AnyState], aggregate: str, subject: str) -> Reached[AnyState] | None:
    """Return the stored snapshot of this version of the fold; None if there is none, or it cannot be read."""
    kept = (
        Snapshot.objects.filter(fold=fold.name, aggregate=aggregate, subject=subject, fingerprint=fold.fingerprint)
        .values_list("state", "sequence")
        .first()
    )
    if kept is None:
        return None
    try:
        return Reached(state=type(fold.start).model_validate(kept[0]), sequence=kept[1], read=0)
    except ValidationError:
        return None
