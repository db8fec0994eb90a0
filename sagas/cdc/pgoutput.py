"""Messages of `pgoutput`, PostgreSQL's own plugin for logical decoding, protocol version 1, values as text.

Pure: bytes in, values out. Version 1 tells of a transaction once it is committed, whole and in the order of commits.
Only the fields that this project uses are read from a message; the rest is skipped.

Source: PostgreSQL, "Logical Replication Message Formats".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Unchanged(Enum):
    """A value too long for its row (TOAST) that the change did not touch: the log does not repeat it."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED = Unchanged.UNCHANGED

#: A column's value as text; None for NULL.
Value = str | None | Unchanged
Values = Mapping[str, Value]


class ProtocolError(Exception):
    """Bytes that are no message of pgoutput, or refer to a table that was not announced."""


@dataclass(frozen=True, kw_only=True)
class Begin:
    """A transaction follows.

    Attributes:
        lsn: the position of its commit in the log; unique.
        xid: the lower 32 bits of its id.
    """

    lsn: int
    committed_at: datetime
    xid: int


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The end of a transaction.

    Attributes:
        end: its end in the log; once this is confirmed, the transaction is not sent again.
    """

    end: int


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table with the names of its columns, announced before its first change and anew when it was altered."""

    id: int
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Insert:
    relation: int
    new: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Update:
    """A changed row.

    Attributes:
        old: the old row (replica identity full); only its key, if that changed; otherwise None.
    """

    relation: int
    old: tuple[Value, ...] | None
    new: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Delete:
    """A deleted row; `old` is the row with replica identity full, otherwise its key."""

    relation: int
    old: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Truncate:
    """Tables that were emptied."""

    relations: tuple[int, ...]


Decoded = Begin | Commit | Relation | Insert | Update | Delete | Truncate

#: Origin of a transaction, and types that are not PostgreSQL's own: the server sends both in any case.
_PASSED_OVER = "OY"


def decode(payload: bytes) -> Decoded | None:
    """Return the message; None for a kind that no reader uses.

    Raises:
        ProtocolError: the bytes are no message, too few or too many.
    """
    reader = _Reader(payload)
    kind = reader.letter()
    if kind in _PASSED_OVER:
        return None
    read = _READ.get(kind)
    if read is None:
        raise ProtocolError(f"unknown message {kind!r}")
    message = read(reader)
    reader.end()
    return message


def named(relation: Relation, values: tuple[Value, ...]) -> dict[str, Value]:
    """Return values by the names of their columns."""
    return dict(zip(relation.columns, values, strict=True))


class _Reader:
    """Reads the fields of a message in order."""

    def __init__(self, payload: bytes) -> None:
        self._payload, self._at = payload, 0

    def take(self, count: int) -> bytes:
        taken = self._payload[self._at : self._at + count]
        if count < 0 or len(taken) < count:
            raise ProtocolError(f"cut short after {len(self._payload)} bytes")
        self._at += count
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def letter(self) -> str:
        return self.take(1).decode("latin-1")

    def text(self) -> str:
        end = self._payload.find(b"\0", self._at)
        if end < 0:
            raise ProtocolError("a text without an end")
        taken = self.take(end - self._at)
        self._at += 1
        return taken.decode()

    def moment(self) -> datetime:
        return _EPOCH + timedelta(microseconds=int.from_bytes(self.take(8), "big", signed=True))

    def expect(self, letters: str) -> str:
        found = self.letter()
        if found not in letters:
            raise ProtocolError(f"{found!r} where one of {letters!r} belongs")
        return found

    def row(self) -> tuple[Value, ...]:
        return tuple(self._value() for _ in range(self.number(2)))

    def end(self) -> None:
        if self._at != len(self._payload):
            raise ProtocolError(f"{len(self._payload) - self._at} bytes left")

    def _value(self) -> Value:
        kind = self.expect("nut")  # `b`inary values come only on request
        if kind == "n":
            return None
        return UNCHANGED if kind == "u" else self.take(self.number(4)).decode()


def _begin(reader: _Reader) -> Begin:
    return Begin(lsn=reader.number(8), committed_at=reader.moment(), xid=reader.number(4))


def _commit(reader: _Reader) -> Commit:
    reader.take(1 + 8)  # flags, and the position of the commit, which Begin had
    commit = Commit(end=reader.number(8))
    reader.take(8)  # its time, which Begin had
    return commit


def _relation(reader: _Reader) -> Relation:
    number, _schema, name = reader.number(4), reader.text(), reader.text()
    reader.take(1)  # its replica identity
    return Relation(id=number, name=name, columns=tuple(_column(reader) for _ in range(reader.number(2))))


def _column(reader: _Reader) -> str:
    reader.take(1)  # whether it is part of the key
    name = reader.text()
    reader.take(4 + 4)  # its type, and the type's modifier
    return name


def _insert(reader: _Reader) -> Insert:
    relation = reader.number(4)
    reader.expect("N")
    return Insert(relation=relation, new=reader.row())


def _update(reader: _Reader) -> Update:
    relation, old = reader.number(4), None
    if reader.expect("KON") != "N":
        old = reader.row()
        reader.expect("N")
    return Update(relation=relation, old=old, new=reader.row())


def _delete(reader: _Reader) -> Delete:
    relation = reader.number(4)
    reader.expect("KO")
    return Delete(relation=relation, old=reader.row())


def _truncate(reader: _Reader) -> Truncate:
    count = reader.number(4)
    reader.take(1)  # whether it cascaded, and restarted sequences
    return Truncate(relations=tuple(reader.number(4) for _ in range(count)))


_READ: dict[str, Callable[[_Reader], Decoded]] = {
    "B": _begin,
    "C": _commit,
    "R": _relation,
    "I": _insert,
    "U": _update,
    "D": _delete,
    "T": _truncate,
}
