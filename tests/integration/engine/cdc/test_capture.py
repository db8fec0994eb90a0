"""What the write-ahead log tells of changes: all of it, in order, once it was confirmed not again."""

import pytest
from django.db import transaction

from sagas.cdc.capture import Capture
from sagas.cdc.pgoutput import UNCHANGED
from tests.conftest import wait_for

from .conftest import CUPS, captured, confirmed, execute, is_followed, scalar


def test_all_kinds_of_values_come_as_text(cups: None) -> None:
    with Capture(CUPS) as capture:
        assert capture.is_new
        execute("INSERT INTO cups VALUES (1, 'grün', '2026-01-02 03:04:05+00', true, '{\"a\": [1]}', 1.50)")
        execute("INSERT INTO cups (id) VALUES (2)")
        full, empty = captured(capture, 2)
    assert full.new == {
        "id": "1",
        "colour": "grün",
        "at": "2026-01-02 03:04:05+00",
        "sold": "t",
        "tags": '{"a": [1]}',
        "weight": "1.50",
    }
    assert empty.new == {"id": "2", "colour": None, "at": None, "sold": None, "tags": None, "weight": None}


def test_a_long_value_that_stays_is_not_repeated_and_with_full_identity_told_as_old(cups: None) -> None:
    execute("INSERT INTO cups (id, colour) VALUES (1, repeat('long', 5000))")
    with Capture(CUPS) as capture:
        execute("UPDATE cups SET sold = true", "ALTER TABLE cups REPLICA IDENTITY FULL", "UPDATE cups SET sold = false")
        brief, full = captured(capture, 2)
    assert (brief.old, brief.new["colour"], brief.new["sold"]) == ({}, UNCHANGED, "t")
    assert (full.old["colour"], full.old["sold"]) == ("long" * 5000, "t")
    assert (full.new["colour"], full.new["sold"]) == (UNCHANGED, "f")


def test_keys_that_change_rows_that_go_and_tables_that_are_emptied(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) VALUES (1)", "UPDATE cups SET id = 2", "DELETE FROM cups", "TRUNCATE cups")
        changes = captured(capture, 4)
    assert [(change.action, change.old.get("id"), change.new.get("id")) for change in changes] == [
        ("insert", None, "1"),
        ("update", "1", "2"),
        ("delete", "2", None),
        ("truncate", None, None),
    ]


def test_a_table_that_is_altered_is_announced_anew(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) VALUES (1)", "ALTER TABLE cups ADD handle text DEFAULT 'left'")
        execute("INSERT INTO cups (id) VALUES (2)")
        before, after = captured(capture, 2)
    assert ("handle" in before.new, after.new["handle"]) == (False, "left")


def test_what_is_rolled_back_is_not_told_and_a_savepoint_neither(cups: None) -> None:
    with Capture(CUPS) as capture:
        with transaction.atomic():
            execute("INSERT INTO cups (id) VALUES (1)")
            transaction.set_rollback(True)
        with transaction.atomic():
            execute("INSERT INTO cups (id) VALUES (2)")
            with transaction.atomic():
                execute("INSERT INTO cups (id) VALUES (3)")
                transaction.set_rollback(True)
        (change,) = captured(capture, 1)
    assert change.new["id"] == "2"


def test_a_transaction_larger_than_memory_allows_comes_in_portions(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) SELECT generate_series(1, 25000)")
        changes = captured(capture, 25_000)
    assert [change.number for change in changes] == list(range(1, 25_001))
    assert [change.new["id"] for change in changes] == [str(number) for number in range(1, 25_001)]


def test_what_was_confirmed_is_not_told_again_and_what_was_not_is(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) VALUES (1)")
        captured(capture, 1)
        capture.confirm(capture.position)
        capture.report()
        execute("INSERT INTO cups (id) VALUES (2)")
        captured(capture, 1)
    wait_for(lambda: not is_followed())
    with Capture(CUPS) as capture:
        assert not capture.is_new
        (change,) = captured(capture, 1)
    assert change.new["id"] == "2"


def test_the_slot_moves_on_though_only_others_write(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("CREATE TABLE IF NOT EXISTS saucers (id int)", "INSERT INTO saucers SELECT generate_series(1, 1000)")
        written = scalar("SELECT pg_current_wal_lsn() - '0/0'")

        def is_past() -> bool:
            capture.take(0.05)
            capture.confirm(capture.position)
            return bool(capture.position >= written)

        wait_for(is_past)
        capture.report()
        wait_for(lambda: confirmed() >= written)
    execute("DROP TABLE saucers")


def test_what_others_cannot_see_yet_is_not_handed_over(cups: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is told when it is in the log, a moment before others see its rows; the moment is made long here."""
    with Capture(CUPS) as capture:
        snapshot = scalar("SELECT pg_current_snapshot()::text")
        with monkeypatch.context() as patch:
            patch.setattr("sagas.cdc.capture._snapshot", lambda: snapshot)
            execute("INSERT INTO cups (id) VALUES (1)")
            at = capture.position
            assert [capture.take(0.1) for _ in range(3)] == [[], [], []]
            assert capture.position == at
        assert len(captured(capture, 1)) == 1
