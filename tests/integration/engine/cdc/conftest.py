"""A table whose changes the real write-ahead log tells, through a slot of the tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from sagas.cdc import slots
from sagas.cdc.capture import Capture, Change
from sagas.cdc.slots import Publication, Slot
from tests.conftest import wait_for

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


def captured(capture: Capture, count: int) -> list[Change]:
    """Return what is told once there is as much of it; nothing more comes."""
    changes: list[Change] = []

    def all_there() -> bool:
        changes.extend(change for portion in capture.take(0.2) for change in portion.changes)
        return len(changes) >= count

    wait_for(all_there)
    assert len(changes) == count
    return changes
