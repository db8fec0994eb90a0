"""What an adversary would try: poison, hanging and killed work, other code's rows, late answers, fences left out."""

import contextlib
import dataclasses
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections
from pytest_django import Settings

from sagas.core import registry
from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.saga import Saga, Step
from sagas.engine import plan, steps, undo
from sagas.engine.deliveries import sweep_deliveries
from sagas.engine.sweep import sweep_runs
from sagas.log import relay as relay_module
from sagas.log.relay import relay_events
from sagas.models import Delivery, Run
from sagas.testing import MovableClock, drive, run_delivery
from tests.conftest import Redefine

from .conftest import Ask, Asked, Deploy, Script, Tell, intervene, standing


class Killed(BaseException):
    """Stands for a kill -9 or a hard time limit: nothing catches it, nothing is written."""


def drive_on(clock: MovableClock, *, turns: int = 30) -> None:
    """Let recovery do its work, whatever kills its workers meanwhile."""
    for _ in range(turns):
        with contextlib.suppress(Killed):
            drive(now=clock)
        clock.move(minutes=11)


# Work that kills or hangs ----------------------------------------------------------------------------------------


def test_a_step_that_always_hits_its_time_limit_is_given_up(ask: Ask, script: Script, clock: MovableClock) -> None:
    """Celery acknowledges such a message, so the broker never says that it came before."""
    script.says["last"] = [Killed() for _ in range(100)]
    ask()
    drive_on(clock)
    assert standing()[0] == "needs_attention"
    assert (Run.objects.get().attention or {})["error"] == "WorkerLostError"
    assert script.did.count("last k") == 6


def test_a_probe_that_always_kills_its_worker_is_given_up(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [OutcomeUnknown("silence")]
    script.says["probe"] = [Killed() for _ in range(100)]
    ask()
    Run.objects.update(deadline_at=None)
    drive_on(clock)
    assert script.did.count("probe k") <= 6
    assert "undo-far k" in script.did


@pytest.mark.parametrize("outside", [False, True])
def test_a_reaction_that_always_kills_its_worker_is_parked(
    tell: Tell, script: Script, clock: MovableClock, redefine: Redefine, outside: bool
) -> None:
    redefine("inside", outside=outside)
    script.says["told k"] = [Killed() for _ in range(100)]
    tell("k", 1)
    drive_on(clock)
    assert Delivery.objects.get().status == "parked"
    assert script.did.count("told k 1") == 6


def test_a_reaction_whose_consequences_kill_their_worker_is_parked(
    saga: Saga[Asked], tell: Tell, clock: MovableClock, redefine: Redefine
) -> None:
    gave_up: list[str] = []

    def react(_: object) -> None:
        raise Rejected("no")

    def kill(*_: object) -> None:
        gave_up.append("killed")
        raise Killed

    redefine("inside", react=react, on_give_up=kill)
    tell("k", 1)
    drive_on(clock)
    assert Delivery.objects.get().status == "parked"
    assert len(gave_up) == 11


def test_waiting_behind_a_parked_delivery_is_no_lost_try(tell: Tell, script: Script, clock: MovableClock) -> None:
    script.says["told k"] = [Rejected("not yet")]
    tell("k", 1)
    tell("k", 2)
    drive_on(clock)
    parked = Delivery.objects.get(status="parked")
    for wake_up in intervene(parked, "retry", clock).deliveries:
        for following in run_delivery(wake_up, now=clock):
            run_delivery(following, now=clock)
    assert script.did == ["told k 1", "told k 1", "told k 2"]
    assert not Delivery.objects.exclude(status="done").exists()


def test_a_redelivery_does_not_use_up_the_tries_of_the_business(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["first"] = [Retryable("busy")]
    ask()
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    outcome = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock, redelivered=True)
    assert outcome.failed is None
    clock.move(seconds=11)
    drive(now=clock)
    assert standing()[0] == "completed"


# Poison ----------------------------------------------------------------------------------------------------------


class WithoutText(Exception):  # noqa: N818
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __bool__(self) -> bool:
        raise RuntimeError("the traceback module asks for it")


@pytest.mark.parametrize("step", ["first", "last", "probe"])
@pytest.mark.parametrize(
    "poison",
    [
        Rejected("null \x00"),
        Rejected("half a pair \ud800"),
        type("E" * 201, (Exception,), {})(),
        WithoutText(),
        {"ratio": float("nan")},
        {"text": "null \x00"},
        {"text": "half a pair \ud800"},
    ],
    ids=["null", "surrogate", "long name", "without text", "result nan", "result null", "result surrogate"],
)
def test_poison_ends_its_own_run_only(ask: Ask, script: Script, clock: MovableClock, step: str, poison: Any) -> None:
    if step == "probe":
        script.says["far"] = [OutcomeUnknown("silence")]
    script.says[step] = [poison] * 9
    ask()
    drive_on(clock, turns=6)
    assert Run.objects.get().status in ("undone", "needs_attention")


def test_a_backslash_before_u0000_is_no_null_character(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["first"] = [{"text": r"C:\u0000"}]
    ask()
    drive(now=clock)
    assert Run.objects.get().results["first"] == {"text": r"C:\u0000"}


@pytest.mark.parametrize("seconds", [1e15, float("inf"), float("nan"), -5.0])
def test_no_answer_of_another_system_makes_a_run_wait_for_ever(
    ask: Ask, script: Script, clock: MovableClock, seconds: float
) -> None:
    script.says["last"] = [Retryable("busy", retry_after_seconds=seconds)]
    ask()
    drive(now=clock)
    clock.move(days=1)
    drive(now=clock)
    assert standing()[0] == "completed"


def test_a_deferred_constraint_fails_the_step_that_violates_it(
    ask: Ask, script: Script, clock: MovableClock, redefine: Redefine, settings: Settings
) -> None:
    settings.SAGAS_BATCH_SIZE = 10
    saga = registry.saga("test")
    good = saga.steps[0].run
    assert good is not None

    def dangling(call: Any) -> Any:
        if call.key == "bad":
            Delivery.objects.create(event_id=987654, subscription="x", key="x")
        return good(call)

    redefine("first", run=dangling)
    for key in ("a", "bad", "b"):
        ask(key)
    drive_on(clock, turns=3)
    assert [standing(key)[0] for key in ("a", "bad", "b")] == ["completed", "undone", "completed"]


# Answers that come late ------------------------------------------------------------------------------------------


def test_unknown_and_then_busy_may_have_taken_effect(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [OutcomeUnknown("silence"), Retryable("busy")]
    script.says["probe"] = ["nothing found yet"]
    ask()
    drive_on(clock, turns=3)
    assert script.did[-3:] == ["undo-far k", "undo-first k", "say-sorry k"]


def test_no_call_is_made_after_its_undo(
    ask: Ask, script: Script, clock: MovableClock, redefine: Redefine, settings: Settings
) -> None:
    """A batch's first call is so slow that the deadline passes for the second, which waits behind it."""
    settings.SAGAS_BATCH_SIZE = 10
    for key in "ab":
        ask(key)
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    far = registry.saga("test").steps[1]
    quick = far.run
    assert quick is not None

    def slow(call: Any) -> Any:
        if call.key == "a" and "undo-first b" not in script.did:
            clock.move(hours=2)
            drive(now=clock)
        return quick(call)

    redefine("far", run=slow)
    for alone in steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock).wake_ups:
        steps.execute(run_ids=alone.run_ids, place=1, epoch=1, clock=clock)
    assert "undo-first b" in script.did
    assert "far b" not in script.did


def test_settling_an_answer_and_starting_an_undo_do_not_block_each_other(
    ask: Ask, script: Script, clock: MovableClock, redefine: Redefine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask()
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    planning, answered = threading.Event(), threading.Event()
    plan_undo = plan.plan_undo

    def plan_while_the_answer_comes(*parts: Any) -> Any:
        planning.set()
        answered.wait(0.5)  # the settling side is at its locks by then, or waits for ours
        return plan_undo(*parts)

    monkeypatch.setattr(undo, "plan_undo", plan_while_the_answer_comes)
    errors: list[Exception] = []

    def start_the_undo() -> None:
        try:
            sweep_runs(now=clock() + timedelta(hours=2), limit=10)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)
        finally:
            connections.close_all()

    sweeper = threading.Thread(target=start_the_undo)

    def far(call: Any) -> dict[str, str]:
        sweeper.start()
        planning.wait(10)
        return {}

    redefine("far", run=far)
    steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock)
    sweeper.join()
    assert errors == []
    assert standing()[0] == "undoing"


# Other code's rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "status"),
    [
        ([Retryable("busy", retry_after_seconds=5), Rejected("cannot")], "needs_attention"),
        ([Retryable("busy", retry_after_seconds=86_400)], "running"),
    ],
    ids=["rejected", "deadline"],
)
def test_a_run_behind_its_own_pivot_never_goes_back_whatever_was_deployed(
    ask: Ask,
    saga: Saga[Asked],
    script: Script,
    clock: MovableClock,
    deploy: Deploy,
    says: list[Exception],
    status: str,
) -> None:
    script.says["last"] = list(says)
    ask()
    drive(now=clock)
    more = [
        Step(name, queue="sagas", run=script.step(name), undo=script.step(f"un{name}"))
        for name in ("check-a", "check-b")
    ]
    longer = dataclasses.replace(saga, steps=(*more, *saga.steps))
    assert list(longer.faults()) == []
    deploy(longer)
    clock.move(hours=2)
    drive(now=clock)
    assert standing()[0] == status
    assert "undo-first k" not in script.did


def test_an_event_of_a_type_nobody_here_knows_waits_for_one_who_does(
    ask: Ask, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = ask()
    with monkeypatch.context() as old_code:
        old_code.setattr(relay_module, "known_types", lambda: ["tests.told"])
        assert relay_events(now=clock(), limit=10).events == 0
    event.refresh_from_db()
    assert event.relayed_at is None
    drive(now=clock)
    assert Run.objects.count() == 1


# The database in trouble -----------------------------------------------------------------------------------------


def test_a_passing_database_error_costs_a_turn_of_the_relay_and_parks_nothing(
    ask: Ask, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask()

    def fail(*_: Any, **__: Any) -> Any:
        raise OperationalError("deadlock detected")

    with monkeypatch.context() as trouble:
        trouble.setattr(relay_module, "start_runs", fail)
        with pytest.raises(OperationalError):
            relay_events(now=clock(), limit=10)
    assert not Delivery.objects.exists()
    assert relay_events(now=clock(), limit=10).events == 1


def test_a_count_of_resends_does_not_overflow(ask: Ask, tell: Tell, clock: MovableClock) -> None:
    ask()
    tell("k", 1)
    relay_events(now=clock(), limit=10)
    for _ in range(40):
        clock.move(minutes=11)
        sweep_runs(now=clock(), limit=10)
        sweep_deliveries(now=clock(), limit=10)
    assert Run.objects.get().resends == Delivery.objects.get().resends == 10
