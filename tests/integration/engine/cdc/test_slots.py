"""Publications and slots: made, altered, refused with what to do, dropped."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from sagas.books import engine_checks
from sagas.cdc import slots
from sagas.cdc.capture import Capture
from sagas.cdc.errors import LogIsNotLogical, MayNotReplicate, SlotInUse, SlotIsLost, SlotOfAnotherDatabase
from sagas.core.books import Scope
from tests.conftest import wait_for

from .conftest import CUPS, SLOT, captured, execute, is_followed, scalar


def test_a_publication_of_older_code_is_altered(cups: None) -> None:
    execute(f"CREATE PUBLICATION {SLOT} FOR TABLE cups (id) WITH (publish = 'insert')")
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id, colour) VALUES (1, 'red')", "DELETE FROM cups")
        added, gone = captured(capture, 2)
    assert (added.new["colour"], gone.action) == ("red", "delete")


def test_a_second_one_is_told_that_the_slot_is_in_use(cups: None) -> None:
    with Capture(CUPS), pytest.raises(SlotInUse, match=r"tests_cdc is in use by another process.*active for PID"):
        Capture(CUPS)


def test_a_log_that_is_not_logical_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_SERVER", "SELECT 'replica', 'shop', true")
    with pytest.raises(LogIsNotLogical, match="set wal_level = logical and restart"):
        Capture(CUPS)


def test_a_role_without_the_right_is_told_how_to_get_it(cups: None) -> None:
    execute("CREATE ROLE clerk")
    try:
        execute("SET ROLE clerk")
        with pytest.raises(MayNotReplicate, match='ALTER ROLE "clerk" REPLICATION'):
            Capture(CUPS)
    finally:
        execute("RESET ROLE", "DROP ROLE clerk")


@contextmanager
def in_the_database_postgres() -> Iterator[psycopg.Connection[Any]]:
    where = connection.settings_dict
    with psycopg.connect(
        dbname="postgres", host=where["HOST"], port=where["PORT"], user=where["USER"], autocommit=True
    ) as other:
        yield other


def test_a_slot_of_another_database_is_refused(cups: None) -> None:
    with in_the_database_postgres() as other:
        other.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [SLOT])
    with pytest.raises(SlotOfAnotherDatabase, match="belongs to the database postgres: take another name with --slot"):
        Capture(CUPS)
    with in_the_database_postgres() as other:
        other.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])


def test_a_slot_goes_on_when_its_publication_was_made_anew(cups: None) -> None:
    """What was changed while there was none is not told: who has to know asks the tables as well."""
    slots.prepare(CUPS)
    execute(f"DROP PUBLICATION {SLOT}", "INSERT INTO cups (id) VALUES (1)")
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) VALUES (2)")
        (change,) = captured(capture, 1)
    assert change.new["id"] == "2"


def test_a_slot_that_was_invalidated_says_how_to_go_on(cups: None) -> None:
    slots.prepare(CUPS)
    execute("ALTER SYSTEM SET idle_replication_slot_timeout = '1s'", "SELECT pg_reload_conf()")
    try:

        def is_invalid() -> bool:
            execute("CHECKPOINT")
            return bool(scalar("SELECT invalidation_reason FROM pg_replication_slots WHERE slot_name = %s", SLOT))

        wait_for(is_invalid)
    finally:
        execute("ALTER SYSTEM RESET idle_replication_slot_timeout", "SELECT pg_reload_conf()")
    (breach,) = engine_checks._slots(Scope(keys=(), now=timezone.now()))
    assert breach.message.startswith("The replication slot tests_cdc is lost (idle_timeout)")
    with pytest.raises(SlotIsLost, match=r"idle_timeout.*Drop it with --drop-slot and start anew"):
        Capture(CUPS)
    assert slots.drop(SLOT)
    with Capture(CUPS) as capture:
        assert capture.is_new
        execute("INSERT INTO cups (id) VALUES (1)")
        captured(capture, 1)


def test_a_slot_that_nobody_reads_becomes_a_finding_after_a_while(cups: None) -> None:
    slots.prepare(CUPS)

    def breaches(minutes: int) -> list[str]:
        look = Scope(keys=(), now=timezone.now() + timedelta(minutes=minutes))
        return [breach.message for breach in engine_checks._slots(look)]

    assert breaches(1) == []
    (said,) = breaches(10)
    assert said.startswith(
        "The replication slot tests_cdc has no reader, and PostgreSQL keeps the write-ahead log for it"
    )
    with Capture(CUPS):
        assert breaches(10) == []


def test_the_command_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagas.cdc.foreground.Foreground.until_stopped", lambda _: None)
    monkeypatch.setattr(slots, "_SERVER", "SELECT 'replica', 'shop', true")
    for command in ("relay", "changes"):
        with pytest.raises(CommandError, match="wal_level=replica: set wal_level = logical and restart"):
            call_command(command, f"--slot={SLOT}")
    with pytest.raises(CommandError, match="no name of a slot"):
        call_command("relay", '--slot=x"; DROP')


def test_a_slot_is_dropped_unless_somebody_follows_it(cups: None, capsys: pytest.CaptureFixture[str]) -> None:
    with Capture(CUPS), pytest.raises(CommandError, match=r"is active for PID.*stop the process"):
        call_command("relay", "--drop-slot", f"--slot={SLOT}")
    wait_for(lambda: not is_followed())
    call_command("relay", "--drop-slot", f"--slot={SLOT}")
    call_command("relay", "--drop-slot", f"--slot={SLOT}")
    assert capsys.readouterr().out == f"The slot {SLOT} is dropped.\nThere is no slot {SLOT}.\n"
