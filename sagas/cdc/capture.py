"""From messages to changes: committed changes, in the order of commits, handed over once other snapshots see them."""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from django.db import connection

from . import slots
from .pgoutput import (
    Begin,
    Commit,
    Decoded,
    Delete,
    Insert,
    ProtocolError,
    Relation,
    Truncate,
    Update,
    Value,
    Values,
    decode,
    named,
)
from .slots import Slot
from .stream import Stream

#: Maximum number of changes of one transaction in a portion, so that no transaction has to fit into memory.
PORTION = 10_000
#: Pause between two checks whether a received transaction is visible.
_LOOK_SECONDS = 0.001
_LOOKS = 20


class ChangeKind(StrEnum):
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One row that was changed, or a table that was emptied.

    Attributes:
        number: its number in the transaction, 1, 2, 3 …; unique together with the transaction's `lsn`.
        old: the columns of the old row that the table's replica identity has; empty for a new row.
        new: the new row; empty for a deleted one.
    """

    number: int
    action: ChangeKind
    table: str
    old: Values = field(default_factory=dict)
    new: Values = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Portion:
    """A transaction, or a part of a large one.

    Attributes:
        lsn: the position of its commit in the log.
        end: the position to confirm once the portion is handled; empty if more of the transaction follows.
    """

    lsn: int
    xid: int
    committed_at: datetime
    changes: Sequence[Change]
    end: int | None


class Capture:
    """The changes of a slot. One process at a time follows a slot.

    Note [Told before seen]: PostgreSQL sends a transaction when its commit is in the log, a moment before others see
    its rows. A reader that queried at once would see the old rows (and put them into a cache, or take new rows for
    missing). So portions are handed over, in order, once a new snapshot has them.

    Attributes:
        position: all changes up to this position of the log were handed over.
    """

    def __init__(self, slot: Slot) -> None:
        """Make publication and slot where they are missing, and follow.

        Raises:
            SlotInUse, CannotFollow, django.db.OperationalError: as `Stream`.
        """
        self.is_new = slots.prepare(slot)
        self._stream = Stream(slot)
        self._assembly = Assembly()
        self._waiting: deque[Portion] = deque()
        self.position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def take(self, seconds: float) -> list[Portion]:
        """Return committed changes, waiting for the first; none when the time is over."""
        until = time.monotonic() + seconds
        while True:
            self._waiting.extend(self._assembly.add(map(decode, self._receive(until))))
            seen = self._seen()
            for portion in seen:
                self.position = portion.end or self.position
            if not self._waiting and self._assembly.is_between_transactions:
                self.position = max(self.position, self._stream.seen)
            if seen or time.monotonic() >= until:
                return seen

    def confirm(self, lsn: int) -> None:
        """Confirm everything up to here: the server does not send it again."""
        self._stream.confirm(lsn)

    def report(self) -> None:
        """Tell the server what was confirmed, before the connection ends."""
        self._stream.report()

    def _receive(self, until: float) -> list[bytes]:
        """Return messages; wait for them only while there is no portion to hand over."""
        left = 0.0 if self._waiting else max(0.0, until - time.monotonic())
        return self._stream.receive(left)

    def _seen(self) -> list[Portion]:
        """Return the portions, from the first on, that a snapshot taken now contains."""
        for _ in range(_LOOKS if self._waiting else 0):
            hidden = hidden_from(_snapshot(), {portion.xid for portion in self._waiting})
            seen: list[Portion] = []
            while self._waiting and self._waiting[0].xid not in hidden:
                seen.append(self._waiting.popleft())
            if seen:
                return seen
            time.sleep(_LOOK_SECONDS)
        return []


class Assembly:
    """Puts transactions together from messages."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._begin: Begin | None = None
        self._changes: list[Change] = []
        self._count = 0

    @property
    def is_between_transactions(self) -> bool:
        return self._begin is None

    def add(self, messages: Iterable[Decoded | None]) -> list[Portion]:
        """Return the portions that these messages complete."""
        portions = []
        for message in messages:
            if isinstance(message, Begin):
                self._begin, self._count = message, 0
            elif isinstance(message, Relation):
                self._relations[message.id] = message
            elif isinstance(message, Commit):
                portions.append(self._portion(message.end))
                self._begin = None
            elif isinstance(message, Insert | Update | Delete | Truncate):
                self._changes.extend(self._changes_of(message))
                if len(self._changes) >= PORTION:
                    portions.append(self._portion(None))
        return portions

    def _portion(self, end: int | None) -> Portion:
        begin, changes = self._begin, self._changes
        if begin is None:
            raise ProtocolError("the end of a transaction that did not begin")
        self._changes = []
        return Portion(lsn=begin.lsn, xid=begin.xid, committed_at=begin.committed_at, changes=changes, end=end)

    def _changes_of(self, message: Insert | Update | Delete | Truncate) -> list[Change]:
        match message:
            case Insert():
                return [self._change(ChangeKind.INSERT, message.relation, new=message.new)]
            case Update():
                return [self._change(ChangeKind.UPDATE, message.relation, old=message.old or (), new=message.new)]
            case Delete():
                return [self._change(ChangeKind.DELETE, message.relation, old=message.old)]
            case Truncate():
                return [self._change(ChangeKind.TRUNCATE, relation) for relation in message.relations]

    def _change(
        self,
        action: ChangeKind,
        relation_id: int,
        *,
        old: tuple[Value, ...] = (),
        new: tuple[Value, ...] = (),
    ) -> Change:
        relation = self._relations.get(relation_id)
        if relation is None:
            raise ProtocolError(f"a change of table {relation_id}, which was not announced")
        self._count += 1
        return Change(
            number=self._count,
            action=action,
            table=relation.name,
            old=named(relation, old) if old else {},
            new=named(relation, new) if new else {},
        )


def hidden_from(snapshot: str, xids: Iterable[int]) -> set[int]:
    """Return the transactions that a snapshot does not contain yet.

    Args:
        snapshot: as `pg_current_snapshot()` prints it, `xmin:xmax:running,running`, with ids of 64 bits.
        xids: the lower 32 bits of ids, all of the recent past.
    """
    _, after, running = snapshot.split(":")
    end = int(after)
    still = {int(xid) for xid in running.split(",") if xid}
    return {xid for xid in xids if (full := _full_id(xid, end)) >= end or full in still}


def _full_id(xid: int, near: int) -> int:
    """Return the 64-bit id that ends in these 32 bits and is nearest to another id."""
    whole = (near & ~0xFFFFFFFF) | xid
    if whole - near > 0x7FFFFFFF:
        return whole - 0x100000000
    return whole + 0x100000000 if near - whole > 0x7FFFFFFF else whole


def _snapshot() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        row: tuple[str] = cursor.fetchone()
        return row[0]
