"""The sweep goes on with what lost its message, its error callback or its time."""

from datetime import timedelta

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from pytest_django import DjangoAssertNumQueries, Settings

from sagas.core.errors import Rejected, Retryable
from sagas.core.registry import Registry
from sagas.core.saga import Call, Result, Saga, Step
from sagas.core.subscription import starts
from sagas.engine import steps
from sagas.engine.sweep import expire, sweep_runs
from sagas.log.relay import relay_events
from sagas.models import Run, StepRun
from sagas.testing import MovableClock, drive
from sagas.testing.broker import Broker
from tests.factories.journal import RunFactory

from .conftest import Ask, Asked, Script, emit, intervene, standing


def test_a_lost_message_is_sent_again_ever_more_rarely(ask: Ask, clock: MovableClock, settings: Settings) -> None:
    settings.SAGAS_RESEND_AFTER_SECONDS = 20
    ask()
    relay_events(now=clock(), limit=10)
    pauses: list[float] = []
    begin = clock()
    while len(pauses) < 4:
        clock.move(seconds=1)
        if sweep_runs(now=clock(), limit=10):
            pauses.append((clock() - begin).total_seconds())
            begin = clock()
    assert pauses == [20, 40, 80, 160]


def test_a_sweep_that_finds_nothing_due_is_one_statement(
    ask: Ask, clock: MovableClock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    broker = Broker(clock)
    ask()
    broker.relay()
    with django_assert_num_queries(1):
        broker.sweep()


def test_runs_are_swept_though_a_table_of_another_part_cannot_be_read(ask: Ask, clock: MovableClock) -> None:
    broker = Broker(clock)
    ask()
    broker.relay()
    broker.messages.clear()
    clock.move(minutes=11)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sagas_intervention RENAME TO sagas_intervention_away")
    try:
        with pytest.raises(ProgrammingError):
            broker.sweep()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE sagas_intervention_away RENAME TO sagas_intervention")
    assert [str(message) for message in broker.messages] == ["sagas.first"]


def test_runs_of_unknown_sagas_do_not_hold_up_the_others(ask: Ask, clock: MovableClock) -> None:
    ask()
    relay_events(now=clock(), limit=10)
    RunFactory.create(saga="gone", due_at=clock() - timedelta(hours=2))
    clock.move(minutes=11)
    assert len(sweep_runs(now=clock(), limit=1)) == 1


def test_a_failure_whose_error_callback_was_lost_is_swept_into_its_undo(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    script.says["first"] = [Rejected("no")]
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    assert steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock).failed is not None
    clock.move(minutes=1)
    drive(now=clock)
    assert standing()[0] == "undone"


def test_a_redelivered_message_of_a_failed_step_raises_again(ask: Ask, script: Script, clock: MovableClock) -> None:
    """The worker died between the journal and the raise: the error callback still comes."""
    script.says["first"] = [Rejected("no")]
    ask()
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    for _ in range(2):
        outcome = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock, redelivered=True)
        assert outcome.failed is not None
    assert script.did == ["first k"]


def test_a_run_of_other_code_is_left_for_a_worker_that_has_it(ask: Ask, script: Script, clock: MovableClock) -> None:
    ask()
    relay_events(now=clock(), limit=10)
    clock.move(minutes=1)
    with Registry().active():
        assert sweep_runs(now=clock(), limit=10) == []
    clock.move(minutes=10)
    drive(now=clock)
    assert standing()[0] == "completed"


def test_a_run_whose_step_is_gone_disturbs_no_other(
    batches: None, ask: Ask, script: Script, clock: MovableClock
) -> None:
    for key in "abc":
        ask(key)
    script.says["far"] = [Retryable("busy"), Retryable("busy"), Retryable("busy")]
    drive(now=clock)
    StepRun.objects.filter(run__key="b").update(step=Concat(F("step"), Value("-of-old")))
    clock.move(minutes=1)
    drive(now=clock)
    assert [standing(key)[0] for key in "abc"] == ["completed", "running", "completed"]
    clock.move(hours=1)
    drive(now=clock)
    assert standing("b")[0] == "running"
    StepRun.objects.filter(run__key="b").update(step=F("name"))
    clock.move(hours=1)
    drive(now=clock)
    assert standing("b")[0] == "undone"


def test_a_run_whose_undo_needs_a_step_that_is_gone_waits_for_a_person(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    script.says["far"] = [Rejected("no")]
    ask()
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    for place in (0, 1):
        steps.execute(run_ids=wake_up.run_ids, place=place, epoch=1, clock=clock)
    StepRun.objects.filter(name="first").update(step="first-of-old")
    for _ in range(11):
        clock.move(minutes=11)
        drive(now=clock)
    assert standing()[0] == "needs_attention"
    assert (Run.objects.get().attention or {})["error"] == "RunOfOtherCodeError"
    StepRun.objects.filter(name="first").update(step="first")  # that code is deployed again
    intervene(Run.objects.get(), "retry", clock)
    drive(now=clock)
    assert standing()[0] == "undone"


def test_a_run_that_ends_before_the_sweep_turns_it_back_has_no_failure(
    transactional_db: None, script: Script, clock: MovableClock
) -> None:
    """Its deadline passes during its last call, and one sweep notes more runs than it sends."""

    def slow(call: Call[Asked]) -> Result:
        clock.move(minutes=61)
        with transaction.atomic():
            assert expire(now=clock(), limit=10) == 1
        return {"by": "slow"}

    step = Step(
        "slow", queue="sagas", run=slow, undo=script.step("undo-slow"), probe=script.step("probe"), outside=True,
        lease=timedelta(hours=2),
    )  # fmt: skip
    saga = Saga("short", input=Asked, deadline=timedelta(hours=1), steps=(step,))
    with Registry([starts(saga)]).active():
        emit(Asked(name="k"), clock)
        drive(now=clock)
    assert (standing(), Run.objects.get().failure) == (("completed", {"slow": "done"}), None)


def test_the_deadline_turns_a_run_back_before_its_pivot_only(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [Retryable("busy", retry_after_seconds=7200)]
    ask("slow")
    drive(now=clock)
    script.says["last"] = [Retryable("busy", retry_after_seconds=7200)]
    ask("past")
    drive(now=clock)
    clock.move(seconds=3601)
    drive(now=clock)
    assert standing("slow")[0] == "undone"
    assert (Run.objects.get(key="slow").failure or {})["error"] == "DeadlinePassed"
    assert standing("past")[0] == "running"
    clock.move(seconds=3600)
    drive(now=clock)
    assert standing("past")[0] == "completed"
