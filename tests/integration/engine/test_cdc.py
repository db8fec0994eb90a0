"""The real write-ahead log: what is told of changes, and the relay that goes by it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from sagas.books import engine_checks
from sagas.cdc import slots
from sagas.cdc import wal_relay as wal
from sagas.cdc.capture import Capture, Change
from sagas.cdc.errors import LogIsNotLogical, MayNotReplicate, SlotInUse, SlotIsLost, SlotOfAnotherDatabase
from sagas.cdc.pgoutput import UNCHANGED
from sagas.cdc.slots import Publication, Slot
from sagas.core import registry
from sagas.core.books import Scope
from sagas.core.cause import Cause, caused_by
from sagas.log import outbox
from sagas.log.relay import relay_events
from sagas.messaging import tasks
from sagas.models import Delivery, Event, Run
from sagas.testing import MovableClock
from tests.conftest import wait_for

from .conftest import Asked, Told, emit

SLOT = "tests_cdc"
CUPS = Slot(name=SLOT, publications=(Publication(name=SLOT, tables={"cups": ()}),))


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def scalar(statement: str, *params: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        row = cursor.fetchone()
        return row[0] if row else None


def is_followed() -> bool:
    return bool(scalar("SELECT active FROM pg_replication_slots WHERE slot_name = %s", SLOT))


def confirmed() -> int:
    """Return up to where the slot was read, for good."""
    return int(scalar("SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s", SLOT))


@pytest.fixture(autouse=True)
def no_slot_stays(transactional_db: None) -> Iterator[None]:
    yield
    wait_for(lambda: not is_followed())
    slots.drop(SLOT)
    execute(f"DROP PUBLICATION IF EXISTS {SLOT}", "DROP TABLE IF EXISTS cups")


@pytest.fixture
def cups() -> None:
    execute(
        "CREATE TABLE cups (id bigint PRIMARY KEY, colour text, at timestamptz, sold bool, tags jsonb, weight numeric)",
        "ALTER TABLE cups ALTER colour SET STORAGE EXTERNAL",
    )


def told(capture: Capture, count: int) -> list[Change]:
    """Return what is told once there is as much of it; nothing more comes."""
    changes: list[Change] = []

    def all_there() -> bool:
        changes.extend(change for portion in capture.take(0.2) for change in portion.changes)
        return len(changes) >= count

    wait_for(all_there)
    assert len(changes) == count
    return changes


def test_all_kinds_of_values_come_as_text(cups: None) -> None:
    with Capture(CUPS) as capture:
        assert capture.is_new
        execute("INSERT INTO cups VALUES (1, 'grün', '2026-01-02 03:04:05+00', true, '{\"a\": [1]}', 1.50)")
        execute("INSERT INTO cups (id) VALUES (2)")
        full, empty = told(capture, 2)
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
        brief, full = told(capture, 2)
    assert (brief.old, brief.new["colour"], brief.new["sold"]) == ({}, UNCHANGED, "t")
    assert (full.old["colour"], full.old["sold"]) == ("long" * 5000, "t")
    assert (full.new["colour"], full.new["sold"]) == (UNCHANGED, "f")


def test_keys_that_change_rows_that_go_and_tables_that_are_emptied(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) VALUES (1)", "UPDATE cups SET id = 2", "DELETE FROM cups", "TRUNCATE cups")
        changes = told(capture, 4)
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
        before, after = told(capture, 2)
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
        (change,) = told(capture, 1)
    assert change.new["id"] == "2"


def test_a_transaction_larger_than_memory_allows_comes_in_portions(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) SELECT generate_series(1, 25000)")
        changes = told(capture, 25_000)
    assert [change.number for change in changes] == list(range(1, 25_001))
    assert [change.new["id"] for change in changes] == [str(number) for number in range(1, 25_001)]


def test_what_was_confirmed_is_not_told_again_and_what_was_not_is(cups: None) -> None:
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id) VALUES (1)")
        told(capture, 1)
        capture.confirm(capture.position)
        capture.report()
        execute("INSERT INTO cups (id) VALUES (2)")
        told(capture, 1)
    wait_for(lambda: not is_followed())
    with Capture(CUPS) as capture:
        assert not capture.is_new
        (change,) = told(capture, 1)
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
        assert len(told(capture, 1)) == 1


# Publication and slot ------------------------------------------------------------------------------------------------


def test_a_publication_of_older_code_is_altered(cups: None) -> None:
    execute(f"CREATE PUBLICATION {SLOT} FOR TABLE cups (id) WITH (publish = 'insert')")
    with Capture(CUPS) as capture:
        execute("INSERT INTO cups (id, colour) VALUES (1, 'red')", "DELETE FROM cups")
        added, gone = told(capture, 2)
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
        (change,) = told(capture, 1)
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
        told(capture, 1)


def test_a_slot_that_nobody_reads_becomes_a_finding_after_a_while(cups: None) -> None:
    slots.prepare(CUPS)

    def breaches(minutes: int) -> list[str]:
        look = Scope(keys=(), now=timezone.now() + timedelta(minutes=minutes))
        return [breach.message for breach in engine_checks._slots(look)]

    assert breaches(1) == []
    (said,) = breaches(10)
    assert said.startswith("The replication slot tests_cdc is read by nobody, and the write-ahead log is kept for it")
    with Capture(CUPS):
        assert breaches(10) == []


def test_the_command_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagas.cdc.foreground.Foreground.until_stopped", lambda _: None)
    monkeypatch.setattr(slots, "_SERVER", "SELECT 'replica', 'shop', true")
    for command in (["relay", "--follow-wal"], ["changes"]):
        with pytest.raises(CommandError, match="wal_level=replica: set wal_level = logical and restart"):
            call_command(*command, f"--slot={SLOT}")
    with pytest.raises(CommandError, match="no name of a slot"):
        call_command("relay", "--follow-wal", '--slot=x"; DROP')


def test_a_slot_is_dropped_unless_somebody_follows_it(cups: None, capsys: pytest.CaptureFixture[str]) -> None:
    with Capture(CUPS), pytest.raises(CommandError, match=r"is active for PID.*stop the process"):
        call_command("relay", "--drop-slot", f"--slot={SLOT}")
    wait_for(lambda: not is_followed())
    call_command("relay", "--drop-slot", f"--slot={SLOT}")
    call_command("relay", "--drop-slot", f"--slot={SLOT}")
    assert capsys.readouterr().out == f"The slot {SLOT} is dropped.\nThere is no slot {SLOT}.\n"


# The relay -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are looked at here; no worker is to hear of them, and the sweep has its own tests."""
    monkeypatch.setattr(tasks, "send", lambda *_: None)
    monkeypatch.setattr(tasks, "sweep", lambda: None)


@pytest.fixture
def caught_up(saga: object, no_messages: None) -> Iterator[wal.WalRelay]:
    """A relay that has taken all there was, and from now on goes by what it is told."""
    with Capture(wal.slot(SLOT)) as capture:
        following = wal.WalRelay(capture)
        following.work()
        assert not following._behind
        yield following


def work(following: wal.WalRelay, until: Callable[[], object]) -> None:
    def done() -> object:
        following.work()
        return until()

    wait_for(done)


def in_the_log() -> list[str]:
    return list(Event.objects.exclude(log_position=None).order_by("log_position").values_list("key", flat=True))


def test_at_first_it_takes_what_waits(saga: object, no_messages: None, clock: MovableClock) -> None:
    emit(Asked(name="before"), clock)
    with Capture(wal.slot(SLOT)) as capture:
        work(wal.WalRelay(capture), lambda: in_the_log() == ["before"])
    assert Run.objects.count() == 1


def test_what_is_told_is_taken_once_and_confirmed_after_it(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    before = confirmed()
    for name in "abc":
        emit(Asked(name=name), clock)
    work(caught_up, lambda: not caught_up._told and len(in_the_log()) == 3)
    assert in_the_log() == ["a", "b", "c"]
    assert Run.objects.count() == 3
    work(caught_up, lambda: confirmed() > before)


def test_only_what_was_told_is_taken(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox is not asked: an event whose transaction the log keeps back stays where it is."""
    event = emit(Asked(name="a"), clock)
    monkeypatch.setattr(caught_up._capture, "take", lambda _: [])
    for _ in range(3):
        caught_up._turned_at -= 10
        caught_up.work()
    event.refresh_from_db()
    assert event.log_position is None


def test_a_rolled_back_transaction_gives_nothing(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    with transaction.atomic():
        outbox.emit(Asked(name="never"), now=clock())
        transaction.set_rollback(True)
    emit(Asked(name="a"), clock)
    work(caught_up, lambda: in_the_log() == ["a"])
    assert list(Run.objects.values_list("key", flat=True)) == ["a"]


def test_order_per_key_is_kept_across_bulk_and_not_bulk(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    for number, cause in enumerate((Cause(low_priority=True), Cause(), Cause(low_priority=True))):
        with caused_by(cause):
            emit(Told(name="k", number=number), clock)
    with caused_by(Cause(low_priority=True)):
        emit(Told(name="other", number=9), clock)
    work(caught_up, lambda: len(in_the_log()) == 4)
    assert list(Delivery.objects.filter(key="k").order_by("pk").values_list("event__data__number", flat=True)) == [
        0,
        1,
        2,
    ]
    numbers = Event.objects.filter(key="k").order_by("log_position").values_list("data__number", flat=True)
    assert list(numbers) == [0, 1, 2]


def test_what_another_relay_took_is_confirmed_and_not_taken_again(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    emit(Told(name="a"), clock)
    relay_events(now=clock(), limit=10)
    before = confirmed()
    work(caught_up, lambda: confirmed() > before)
    assert not caught_up._told
    assert Delivery.objects.count() == 1


def test_a_relay_at_its_turn_is_waited_for(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(Asked(name="a"), clock)
    before = confirmed()
    with monkeypatch.context() as patch:
        patch.setattr("sagas.log.relay.followers.lock_the_log", lambda **_: False)
        for _ in range(3):
            caught_up.work()
        assert (in_the_log(), confirmed(), len(caught_up._told)) == ([], before, 1)
    work(caught_up, lambda: in_the_log() == ["a"])


def test_more_than_is_worth_to_remember_is_taken_by_the_index(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "_MAX_TOLD", 50)
    with transaction.atomic(), caused_by(Cause(low_priority=True)):
        outbox.emit(*(Asked(name=f"import {number}") for number in range(1200)), now=clock())
    emit(Asked(name="by hand"), clock)
    work(caught_up, lambda: len(in_the_log()) == 1201)
    assert in_the_log().index("by hand") < tasks.turn_limit()
    work(caught_up, lambda: not caught_up._behind)
    before = confirmed()
    emit(Asked(name="after"), clock)
    work(caught_up, lambda: in_the_log()[-1] == "after" and confirmed() > before)
    assert Run.objects.count() == 1202


def test_what_is_sent_again_by_hand_is_found_by_asking_now_and_then(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(Told(name="a"), clock)
    work(caught_up, lambda: in_the_log() == ["a"])
    Event.objects.update(log_position=None)
    caught_up._asked_at -= 60
    work(caught_up, lambda: in_the_log() == ["a"])
    assert Delivery.objects.count() == 1


def test_events_of_a_type_this_process_does_not_know_are_left_and_hold_nothing_up(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(Told(name="a"), clock)
    Event.objects.update(type="tests.of_the_future")
    before = confirmed()
    work(caught_up, lambda: confirmed() > before)
    assert (in_the_log(), caught_up._told) == ([], {})
    emit(Asked(name="b"), clock)
    work(caught_up, lambda: in_the_log() == ["b"])
    monkeypatch.setattr("sagas.log.relay.known_types", lambda: ["tests.of_the_future", "tests.asked"])
    monkeypatch.setattr(registry, "reactions_to", lambda _: [])
    relay_events(now=clock(), limit=10)
    assert in_the_log() == ["b", "a"]
