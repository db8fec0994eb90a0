"""Messages of the write-ahead log, byte by byte."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.cdc.capture import PORTION, Assembly, ChangeKind, hidden_from
from sagas.cdc.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    ProtocolError,
    Relation,
    Truncate,
    Update,
    decode,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 600_007, tzinfo=UTC)
MICROSECONDS = int((AT - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
BEGIN = b"B" + struct.pack(">QqI", 0x16_B374D848, MICROSECONDS, 4_000_000_000)
COMMIT = b"C" + struct.pack(">BQQq", 0, 0x16_B374D848, 0x16_B374D880, MICROSECONDS)
RELATION = (
    b"R" + struct.pack(">I", 16385) + b"public\0cups\0d" + struct.pack(">H", 2)
    + b"\1id\0" + struct.pack(">Ii", 20, -1) + b"\0colour\0" + struct.pack(">Ii", 25, -1)
)  # fmt: skip


def text(value: str) -> bytes:
    return b"t" + struct.pack(">I", len(value.encode())) + value.encode()


def row(*values: bytes) -> bytes:
    return struct.pack(">H", len(values)) + b"".join(values)


def insert(number: int) -> bytes:
    return b"I" + struct.pack(">I", 16385) + b"N" + row(text(str(number)), b"n")


def test_a_transaction_begins_and_ends() -> None:
    assert decode(BEGIN) == Begin(lsn=0x16_B374D848, committed_at=AT, xid=4_000_000_000)
    assert decode(COMMIT) == Commit(end=0x16_B374D880)


def test_a_table_is_announced_with_its_columns() -> None:
    assert decode(RELATION) == Relation(id=16385, name="cups", columns=("id", "colour"))


def test_values_are_text_or_null_or_left_as_they_were() -> None:
    told = b"I" + struct.pack(">I", 16385) + b"N" + row(text("Grün\n"), b"n", b"u", text(""))
    assert decode(told) == Insert(relation=16385, new=("Grün\n", None, UNCHANGED, ""))


@pytest.mark.parametrize(("letter", "old"), [(b"K", ("1", None)), (b"O", ("1", "red"))])
def test_an_update_may_tell_the_old_row_or_its_key(letter: bytes, old: tuple[str | None, ...]) -> None:
    before = row(*(b"n" if value is None else text(value) for value in old))
    after = b"N" + row(text("2"), text("red"))
    told = b"U" + struct.pack(">I", 16385)
    assert decode(told + letter + before + after) == Update(relation=16385, old=old, new=("2", "red"))
    assert decode(told + after) == Update(relation=16385, old=None, new=("2", "red"))


def test_a_row_goes_and_tables_are_emptied() -> None:
    assert decode(b"D" + struct.pack(">I", 7) + b"K" + row(text("1"))) == Delete(relation=7, old=("1",))
    told = decode(b"T" + struct.pack(">IBII", 2, 3, 7, 8))
    assert told == Truncate(relations=(7, 8))


def test_types_and_origins_come_unasked_and_change_nothing() -> None:
    told = [b"Y" + struct.pack(">I", 9) + b"public\0mood\0", b"O" + struct.pack(">Q", 5) + b"elsewhere\0"]
    assert list(map(decode, told)) == [None, None]
    origin, kind = told[1], told[0]
    (portion,) = Assembly().add(map(decode, [BEGIN, origin, kind, RELATION, insert(1), COMMIT]))
    assert [change.new for change in portion.changes] == [{"id": "1", "colour": None}]


@given(st.sampled_from([BEGIN, COMMIT, RELATION, insert(1)]), st.data())
def test_what_is_cut_short_or_too_long_is_refused(message: bytes, data: st.DataObject) -> None:
    with pytest.raises(ProtocolError):
        decode(message[: data.draw(st.integers(0, len(message) - 1))])
    with pytest.raises(ProtocolError):
        decode(message + b"\0")


@pytest.mark.parametrize("message", [b"Z", b"M", b"I\0\0\0\1K\0\0", b"I\0\0\0\1N\0\1b\0\0\0\0"])
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(message)


def test_a_transaction_is_put_together_from_messages_however_they_come() -> None:
    messages = [BEGIN, RELATION, insert(1), insert(2), COMMIT]
    assembly = Assembly()
    assert assembly.add(map(decode, messages[:4])) == []
    assert not assembly.is_between_transactions
    (portion,) = assembly.add(map(decode, messages[4:]))
    assert (portion.lsn, portion.end, portion.committed_at) == (0x16_B374D848, 0x16_B374D880, AT)
    assert [(change.number, change.action, change.table, change.new) for change in portion.changes] == [
        (1, ChangeKind.INSERT, "cups", {"id": "1", "colour": None}),
        (2, ChangeKind.INSERT, "cups", {"id": "2", "colour": None}),
    ]
    assert assembly.is_between_transactions


def test_a_large_transaction_comes_in_portions_and_only_the_last_has_an_end() -> None:
    messages = [BEGIN, RELATION, *map(insert, range(PORTION + 1)), COMMIT]
    first, last = Assembly().add(map(decode, messages))
    assert (len(first.changes), first.end) == (PORTION, None)
    assert ([change.number for change in last.changes], last.end) == ([PORTION + 1], 0x16_B374D880)


def test_a_change_of_a_table_that_was_not_announced_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not announced"):
        Assembly().add(map(decode, [BEGIN, insert(1)]))


@pytest.mark.parametrize(
    ("snapshot", "hidden"),
    [
        ("100:100:", {100, 101}),
        ("98:102:98,101", {98, 101}),
        ("90:200:", set()),
        # Behind the turn of the lower 32 bits, ids are counted on.
        (f"{2**32 + 90}:{2**32 + 101}:{2**32 + 99}", {99, 101}),
    ],
)
def test_a_snapshot_hides_what_is_under_way_or_not_begun(snapshot: str, hidden: set[int]) -> None:
    assert hidden_from(snapshot, {98, 99, 100, 101}) == hidden


def test_ids_from_before_and_behind_the_turn_are_told_apart() -> None:
    assert hidden_from(f"{2**32}:{2**32 + 5}:", {2**32 - 1, 4}) == set()
    assert hidden_from(f"{2**32 - 2}:{2**32 - 1}:", {2**32 - 2, 3}) == {3}
