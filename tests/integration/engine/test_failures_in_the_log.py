"""A try that fails is a line of the log as well: of what, why, where it was raised, and where to look."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.saga import Saga
from sagas.engine import tries
from sagas.engine.failures import Failed, journal
from sagas.models import Attempt, Delivery, Run
from sagas.testing import Killed, MovableClock, drive
from shop.platform.logs import Repeats

from .conftest import Ask, Asked, Script, Tell


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Any]]:
    """Return what was logged of failed tries, each with its level."""
    caplog.set_level(logging.INFO, logger="sagas.engine.failures")

    def logged() -> list[Any]:
        return [
            {name: value for name, value in record.msg.items() if name not in ("timestamp", "logger", "correlation_id")}
            for record in caplog.records
            if isinstance(record.msg, dict) and record.msg["event"] == "try_failed"
        ]

    return logged


def test_a_bug_in_a_step_is_an_error_that_says_where_and_where_to_look(
    ask: Ask, script: Script, clock: MovableClock, logged: Callable[[], list[Any]]
) -> None:
    script.says["first"] = [ZeroDivisionError("division by zero")]
    ask("order-1")
    drive(now=clock)
    run, attempt = Run.objects.get(), Attempt.objects.get()
    assert attempt.retry_at is not None
    (line,) = logged()
    place = line.pop("place")
    assert place.startswith("tests.integration.engine.conftest:")
    assert line == {
        "event": "try_failed",
        "level": "error",
        "step": "first",
        "run": str(run.id),
        "key": "order-1",
        "attempt": 1,
        "error": "ZeroDivisionError: division by zero",
        "retry_at": attempt.retry_at.isoformat(),
        "look": f"manage.py sagas show {run.id}",
        "fingerprint": f"first ZeroDivisionError {place}",
    }


def test_a_bug_in_a_reaction_is_an_error_too(
    tell: Tell, script: Script, clock: MovableClock, logged: Callable[[], list[Any]]
) -> None:
    script.says["told k"] = [KeyError("sku")]
    tell("k", 1)
    drive(now=clock)
    (line,) = logged()
    assert (line["level"], line["subscription"], line["key"]) == ("error", "inside", "k")
    assert line["look"] == f"sagas/delivery/{Delivery.objects.get().pk} in the admin"


@pytest.mark.parametrize(
    ("errors", "levels"),
    [
        ([Rejected("no")], ["info"]),
        ([Retryable("busy"), Retryable("busy")], ["info", "warning"]),
        ([OutcomeUnknown("silence")], ["info"]),
    ],
)
def test_what_is_no_bug_is_none_in_the_log(
    ask: Ask,
    script: Script,
    clock: MovableClock,
    logged: Callable[[], list[Any]],
    errors: list[Exception],
    levels: list[str],
) -> None:
    script.says["first"] = list(errors)
    ask()
    for _ in errors:
        drive(now=clock)
        clock.move(minutes=1)
    assert [line["level"] for line in logged()] == levels


def test_a_bug_that_stops_many_is_few_lines_with_a_count(
    ask: Ask, script: Script, clock: MovableClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop.platform.logs.monotonic", lambda: 0.0)
    script.says["first"] = [ZeroDivisionError("division by zero") for _ in range(12)]
    caplog.handler.addFilter(repeats := Repeats())
    try:
        for number in range(12):
            ask(f"order-{number}")
        drive(now=clock)
    finally:
        caplog.handler.removeFilter(repeats)
    assert Attempt.objects.count() == 12
    assert len([record for record in caplog.records if "ZeroDivisionError" in str(record.msg)]) == 1
    (told,) = (told for failure, told in repeats._known.items() if "ZeroDivisionError" in failure)
    assert told.repeated == 11


def test_a_try_that_is_not_journalled_is_not_told(
    saga: Saga[Asked], ask: Ask, script: Script, clock: MovableClock, logged: Callable[[], list[Any]], monkeypatch: Any
) -> None:
    script.says["first"] = [ZeroDivisionError("division by zero")]
    ask()

    def journal_and_die(failures: list[Failed]) -> None:
        journal(failures)
        raise Killed

    monkeypatch.setattr(tries, "journal", journal_and_die)
    with pytest.raises(Killed):
        drive(now=clock)
    assert not Attempt.objects.exists()
    assert logged() == []
