"""What late, doubled and stale messages do: nothing that was done already."""

import pytest
from django.db import connection, transaction

from sagas.core.errors import OutcomeUnknown, Rejected, TransactionRefusedError
from sagas.engine import steps, undo
from sagas.log.relay import relay_events
from sagas.models import Attempt, Run, StepRun
from sagas.testing import MovableClock, drive
from tests.conftest import Redefine

from .conftest import Ask, Script, ids, standing


def test_a_redelivered_message_does_nothing_and_lets_its_chain_go_on(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    for redelivered in (False, True):
        outcome = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock, redelivered=redelivered)
        assert outcome.carries_on
        assert script.did == ["first k"]


def test_a_copy_that_comes_too_late_ends_its_chain(ask: Ask, script: Script, clock: MovableClock) -> None:
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    assert steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock).carries_on
    assert not steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock).carries_on
    assert script.did == ["first k"]


def test_a_message_of_an_old_epoch_does_nothing(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [Rejected("no")]
    ask()
    drive(now=clock)
    did = list(script.did)
    for place in range(7):
        assert not steps.execute(run_ids=ids(), place=place, epoch=1, clock=clock).carries_on
    assert undo.start_undo(run_ids=ids(), epoch=1, now=clock()) == []
    assert undo.hand_over(run_ids=ids(), epoch=1, now=clock()) == 0
    assert script.did == did


def test_an_error_callback_for_a_run_that_did_not_fail_does_nothing(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    ask()
    relay_events(now=clock(), limit=10)
    assert undo.start_undo(run_ids=ids(), epoch=1, now=clock()) == []
    assert undo.hand_over(run_ids=ids(), epoch=1, now=clock()) == 0
    drive(now=clock)
    assert standing()[0] == "running"
    clock.move(minutes=1)
    drive(now=clock)
    assert standing()[0] == "completed"


def test_who_lost_the_lease_cannot_write(ask: Ask, script: Script, clock: MovableClock, redefine: Redefine) -> None:
    """A worker frozen in its call wakes up after another has settled the step by asking."""
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)

    def frozen(call: object) -> dict[str, str]:
        clock.move(minutes=5)
        steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock)
        return {"by": "the frozen one"}

    redefine("far", run=frozen)
    outcome = steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock)
    assert Run.objects.get().results["far"] == {"by": "probe"}
    assert StepRun.objects.get(name="far").attempts == 2
    assert not outcome.failed


def test_no_call_is_made_when_the_lease_ran_out_during_the_question(
    ask: Ask, script: Script, clock: MovableClock, redefine: Redefine
) -> None:
    """Others may have asked meanwhile, called, failed and turned the run back."""
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    script.says["far"] = [OutcomeUnknown("silence")]
    steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock)

    def slow(call: object) -> None:
        clock.move(minutes=2)

    redefine("far", probe=slow)
    clock.move(minutes=2)
    steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock)
    assert script.did.count("far k") == 1
    assert standing()[1]["far"] == "unknown"
    clock.move(minutes=2)
    drive(now=clock)
    assert standing()[0] == "undone"  # that was the last try
    assert script.did.count("far k") == 1


def test_a_call_under_way_is_left_alone(ask: Ask, script: Script, clock: MovableClock, redefine: Redefine) -> None:
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    inner = []

    def doubled(call: object) -> None:
        inner.append(steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock))

    redefine("far", run=doubled)
    steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock)
    assert [outcome.carries_on for outcome in inner] == [False]
    assert script.did == ["first k"]


def test_a_row_that_another_worker_holds_is_passed_over(ask: Ask, script: Script, clock: MovableClock) -> None:
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM sagas_run FOR UPDATE")
            outcome = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    assert not outcome.carries_on
    assert script.did == []


def test_poison_that_kills_its_worker_is_counted_and_given_up(ask: Ask, script: Script, clock: MovableClock) -> None:
    class Killed(BaseException):
        """Stands for a kill -9: nothing catches it, nothing is written."""

    script.says["first"] = [Killed() for _ in range(50)]
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    for _ in range(50):
        try:
            outcome = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock, redelivered=True)
        except Killed:
            continue
        break
    assert outcome.failed is not None
    assert len(script.did) <= 2 + 5
    assert Attempt.objects.get().error == "WorkerLostError"


def test_the_engine_refuses_a_transaction(ask: Ask, clock: MovableClock) -> None:
    ask()
    with transaction.atomic(), pytest.raises(TransactionRefusedError):
        steps.execute(run_ids=ids(), place=0, epoch=1, clock=clock)
