"""Steps that do a batch at once: what they leave out, raise and die of concerns one run only."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from sagas.core import registry
from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.saga import Call, Result, Saga
from sagas.engine import steps
from sagas.engine.deliveries import deliver
from sagas.engine.sweep import sweep_runs
from sagas.log.relay import relay_events
from sagas.models import Attempt, Delivery, Run, StepRun
from sagas.testing import Broker, Killed, MovableClock, drive
from tests.conftest import Redefine

from .conftest import Ask, Asked, Script, Told, emit, ids, standing

Together = Callable[[str], None]


@pytest.fixture
def together(script: Script, redefine: Redefine) -> Together:
    """Write a step for many calls: it answers as its simple form, call by call, and leaves lost answers out."""

    def together(name: str) -> None:
        run = registry.saga("test").step(name).run
        assert run is not None

        def many(calls: Sequence[Call[Any]]) -> dict[UUID, Result | Exception]:
            script.did.append(f"{name} together: {' '.join(sorted(call.key for call in calls))}")
            outcomes: dict[UUID, Result | Exception] = {}
            for call in calls:
                try:
                    outcomes[call.id] = run(call)
                except (Rejected, Retryable) as error:
                    outcomes[call.id] = error
                except OutcomeUnknown as error:
                    if len(calls) == 1:
                        outcomes[call.id] = error
            return outcomes

        redefine(name, run=None, run_many=many)

    return together


def busy_at_first(ask: Ask, script: Script, clock: MovableClock, together: Together) -> None:
    """Take three runs to an outside step that is busy for all of them; the next try would succeed."""
    together("far")
    for key in "abc":
        ask(key)
    script.says["far"] = [Retryable("busy")] * 3
    drive(now=clock)


def test_a_set_based_step_takes_a_batch_at_once(
    batches: None, ask: Ask, script: Script, clock: MovableClock, together: Together
) -> None:
    together("first")
    together("far")
    for key in "abc":
        ask(key)
    script.says["far"] = [{"paid": 1}, OutcomeUnknown("silence"), {"paid": 3}]
    script.says["probe"] = [{"paid": 2}]
    drive(now=clock)
    assert {standing(key)[0] for key in "abc"} == {"completed"}
    assert [done for done in script.did if "together" in done] == ["first together: a b c", "far together: a b c"]
    # Asked about, not called again.
    assert [done for done in script.did if done.startswith(("far ", "probe ")) and "together" not in done] == [
        "far a", "far b", "far c", "probe b",
    ]  # fmt: skip
    assert not Attempt.objects.exists()
    assert set(StepRun.objects.filter(name="first").values_list("attempts", flat=True)) == {1}


@pytest.mark.parametrize("name", ["first", "far"])
def test_a_set_based_step_that_raises_harms_nobody(
    batches: None, ask: Ask, script: Script, clock: MovableClock, redefine: Redefine, name: str
) -> None:
    run = registry.saga("test").step(name).run
    assert run is not None

    def many(calls: Sequence[Call[Any]]) -> dict[UUID, Result | Exception]:
        if len(calls) > 1:
            raise ZeroDivisionError
        return {call.id: run(call) for call in calls}

    script.says["probe"] = ["nothing found"] * 3
    redefine(name, run=None, run_many=many)
    for key in "abc":
        ask(key)
    drive(now=clock)
    assert {standing(key)[0] for key in "abc"} == {"completed"}
    assert set(StepRun.objects.exclude(name="pivot").values_list("attempts", flat=True)) == {1}


@pytest.mark.parametrize("name", ["first", "far"])
def test_what_kills_its_worker_in_a_batch_takes_nobody_with_it(
    batches: None, ask: Ask, script: Script, clock: MovableClock, redefine: Redefine, together: Together, name: str
) -> None:
    good = registry.saga("test").step(name).run
    assert good is not None

    def deadly(call: Call[Any]) -> Result:
        if call.key == "b":
            raise Killed
        return good(call)

    redefine(name, run=deadly)
    together(name)
    script.says["probe"] = ["nothing found"] * 50
    for key in "abc":
        ask(key)
    broker = Broker(clock)
    broker.relay()
    for _ in range(200):
        broker.sweep()
        if not broker.messages:
            clock.move(seconds=31)
            continue
        with suppress(Killed):
            broker.deliver(broker.messages[0])
        if not Run.objects.filter(finished_at=None).exists():
            break
    assert [standing(key)[0] for key in "abc"] == ["completed", "undone", "completed"]
    assert (Run.objects.get(key="b").failure or {})["error"] == "WorkerLostError"


def test_no_batch_is_called_when_its_leases_have_run_out(
    batches: None, ask: Ask, script: Script, clock: MovableClock, together: Together
) -> None:
    """A worker freezes between the commit of its leases and the calls."""

    def frozen() -> datetime:
        leased = not connection.in_atomic_block and StepRun.objects.filter(lease_token__isnull=False).exists()
        return clock() + timedelta(minutes=5 if leased else 0)

    together("far")
    for key in "ab":
        ask(key)
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    outcome = steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=frozen)
    assert [did for did in script.did if "far" in did] == []
    assert len(outcome.wake_ups) == 2
    clock.move(minutes=5)
    drive(now=clock)
    assert {standing(key)[0] for key in "ab"} == {"completed"}


def test_a_refused_call_of_a_batch_is_not_made_again(
    batches: None, ask: Ask, script: Script, clock: MovableClock, together: Together
) -> None:
    """A card that is declined in a batch costs no second message and no second call."""
    together("far")
    for key in "abc":
        ask(key)
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    script.says["far"] = [{}, Rejected("declined"), {}]
    outcome = steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock)
    assert outcome.carries_on
    assert [(undo.run_ids, [task.name for task in undo.tasks]) for undo in outcome.wake_ups] == [
        (tuple(ids("b")), ["sagas.undo_first", "sagas.say_sorry"])
    ]
    assert Attempt.objects.get().kind == "rejected"
    clock.move(minutes=11)  # the messages are lost: the sweep sends others
    drive(now=clock)
    assert [standing(key)[0] for key in "abc"] == ["completed", "undone", "completed"]
    assert [did for did in script.did if did.startswith(("far ", "probe "))] == [
        "far together: a b c", "far a", "far b", "far c",
    ]  # fmt: skip


def test_only_first_tries_are_made_in_a_batch(
    batches: None, ask: Ask, script: Script, clock: MovableClock, together: Together
) -> None:
    busy_at_first(ask, script, clock, together)
    clock.move(seconds=11)
    drive(now=clock)
    assert {standing(key)[0] for key in "abc"} == {"completed"}
    assert [done for done in script.did if done.startswith("far together")] == [
        "far together: a b c", "far together: a", "far together: b", "far together: c",
    ]  # fmt: skip
    assert set(StepRun.objects.filter(name="far").values_list("attempts", flat=True)) == {2}


def test_a_batch_that_tries_nothing_counts_no_lost_try(
    batches: None, ask: Ask, script: Script, clock: MovableClock, together: Together
) -> None:
    """Second tries are sent in a batch, which sends them alone; those messages are late, or lost."""
    busy_at_first(ask, script, clock, together)
    for _ in range(3):
        clock.move(minutes=11)
        (wake_up,) = sweep_runs(now=clock(), limit=10)
        left = steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock).wake_ups
        assert len(wake_up.run_ids) == len(left) == 3
    assert set(StepRun.objects.filter(name="far").values_list("attempts", "lost_tries")) == {(1, 0)}
    clock.move(minutes=11)
    drive(now=clock)
    assert {standing(key)[0] for key in "abc"} == {"completed"}


def test_a_batch_of_deliveries_whose_reaction_takes_one_event_is_made_one_by_one(
    batches: None, saga: Saga[Asked], script: Script, clock: MovableClock
) -> None:
    for key in "abc":
        emit(Told(name=key), clock)
    (owed,) = relay_events(now=clock(), limit=10).deliveries
    script.says["told b"] = [Retryable("not now")]
    assert deliver(delivery_ids=owed.delivery_ids, clock=clock) == []
    assert list(Delivery.objects.order_by("event").values_list("key", "status", "attempts")) == [
        ("a", "done", 1), ("b", "pending", 1), ("c", "done", 1),
    ]  # fmt: skip
    clock.move(seconds=11)
    drive(now=clock)
    assert set(Delivery.objects.values_list("status", flat=True)) == {"done"}


def test_a_batch_that_comes_back_lets_those_go_on_that_are_further(
    batches: None, ask: Ask, script: Script, clock: MovableClock
) -> None:
    """Its worker died behind the commit: one run was to be undone, the others were to be carried on."""
    for key in "abc":
        ask(key)
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    script.says["first"] = [{}, Rejected("b is refused"), {}, Rejected("b is refused")]
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    again = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock, redelivered=True)
    assert again.carries_on
    assert again.wake_ups == []  # the first one has started the undo; the sweep sends it
    assert Run.objects.get(key="b").status == "undoing"
