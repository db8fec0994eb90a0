"""Our own list: what else happens to sagas, each in one test of its name. The faults are played at the journal's edge;
tests/faults and `make chaos` do the same to real processes, tests/e2e/test_work_queue.py drains ten thousand runs.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction

from sagas.core.errors import OutcomeUnknown, Rejected
from sagas.core.registry import Registry
from sagas.core.saga import Saga, Step
from sagas.core.statuses import Action
from sagas.core.subscription import starts
from sagas.log import outbox
from sagas.models import Attempt, Delivery, Run, StepRun
from sagas.operations import interventions
from sagas.operations.stranded_runs import faults_in_flight
from sagas.testing import Broker, ChainMessage, Killed, MovableClock

from .conftest import FORWARD, Store, TripWanted, run_of, settle, statuses

Want = Callable[..., None]


def start(want: Want, broker: Broker) -> None:
    want()
    broker.relay()


def step_to(broker: Broker, name: str) -> None:
    """Work messages off until the one for this step is next."""
    while broker.waiting[0].body.name != f"sagas.{name.replace('-', '_')}":
        broker.deliver(broker.waiting[0])


def kill_at(store: Store, name: str) -> None:
    """Have the worker die once the effect of `name` is made."""

    def die() -> None:
        raise Killed

    store.hooks[name] = die


def deliver_to_death(broker: Broker) -> None:
    with pytest.raises(Killed):
        broker.work_off()


def test_restart_in_the_middle_of_an_undo(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["send-confirmation"] = [Rejected("no")]
    kill_at(store, "cancel-hotel")
    start(want, broker)
    deliver_to_death(broker)
    assert store.effects == [*FORWARD[:3], "refund-card"], "what the dead worker did was rolled back"
    settle(broker, clock)
    assert store.effects == [*FORWARD[:3], "refund-card", "cancel-hotel", "cancel-flight"]


def test_unknown_outcome_that_took_effect(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.after["charge-card"] = [OutcomeUnknown("silence")]
    want()
    settle(broker, clock)
    assert store.tries.count("charge-card") == 1
    assert "charge-card?" in store.tries
    assert (store.effects, run_of().status) == (FORWARD, "completed")


def test_unknown_outcome_that_took_no_effect(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["charge-card"] = [OutcomeUnknown("silence")]
    want()
    settle(broker, clock)
    assert [name for name in store.tries if "charge" in name] == ["charge-card", "charge-card?", "charge-card"]
    assert (store.effects, run_of().status) == (FORWARD, "completed")


def test_unknown_outcome_that_stays_unknown_is_undone(
    want: Want, saga: Saga[TripWanted], store: Store, broker: Broker, clock: MovableClock
) -> None:
    def silence(call: object) -> None:
        raise OutcomeUnknown("silence")

    steps = tuple(replace(step, probe=silence) if step.outside else step for step in saga.steps)
    store.after["charge-card"] = [OutcomeUnknown("silence")]
    with Registry([starts(replace(saga, steps=steps))]).active():
        want()
        settle(broker, clock)
    assert store.effects == [*FORWARD[:3], "refund-card", "cancel-hotel", "cancel-flight"]


def test_doubled_delivery(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    start(want, broker)
    doubled: set[int] = set()
    while broker.waiting:
        message = broker.waiting[0]
        if id(message.body) not in doubled:
            doubled.add(id(message.body))
            broker.double(message)
        broker.deliver(message)
        assert len(broker.messages) < 100
    settle(broker, clock)
    assert (store.tries, run_of().status) == (FORWARD, "completed")


def test_stale_lease(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    """The call takes longer than its lease; another worker asks and goes on; the first one comes back too late."""

    def others_go_on() -> None:
        clock.move(minutes=5)
        settle(broker, clock, turns=3)
        assert run_of().status == "completed"

    store.hooks["charge-card"] = others_go_on
    start(want, broker)
    step_to(broker, "charge-card")
    before = broker.waiting[0]
    broker.deliver(before)
    assert statuses()["charge-card"] == "done"
    settle(broker, clock)
    assert (store.effects, run_of().status) == (FORWARD, "completed")
    assert store.tries.count("charge-card") == 1
    assert not Attempt.objects.exists()


def test_two_runs_on_one_order(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    """A second event for a busy key waits; its run comes afterwards, with keys of its own."""
    want()
    want()
    broker.relay()
    assert (Run.objects.count(), Delivery.objects.count()) == (1, 1)
    for _ in range(10):
        settle(broker, clock, turns=10)
    assert list(Run.objects.values_list("status", flat=True)) == ["completed", "completed"]
    assert store.effects == [*FORWARD, *FORWARD]
    keys = StepRun.objects.filter(name="charge-card").values_list("idempotency_key", flat=True)
    assert len(set(keys)) == 2


def test_an_undo_touches_only_its_own_run(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    want("a")
    want("b")
    store.says["send-confirmation"] = [Rejected("no")]
    settle(broker, clock)
    ended = {run.key: run.status for run in Run.objects.all()}
    assert sorted(ended.values()) == ["completed", "undone"]
    (undone,) = [key for key, status in ended.items() if status == "undone"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT key FROM trips WHERE what LIKE 'cancel%' OR what LIKE 'refund%'")
        touched = {key for (key,) in cursor.fetchall()}
    assert touched <= set(StepRun.objects.filter(run__key=undone).values_list("idempotency_key", flat=True))


def test_deploy_in_the_middle(
    want: Want, saga: Saga[TripWanted], store: Store, broker: Broker, clock: MovableClock
) -> None:
    """New code has one step more: the run that is under way keeps the plan it began with, the next has the new one."""
    start(want, broker)
    step_to(broker, "charge-card")
    hotel = saga.steps[1]
    rent = Step("rent-car", queue="sagas", run=store.step("rent-car"), undo=store.step("return-car"))
    new = replace(saga, steps=(saga.steps[0], hotel, rent, *saga.steps[2:]))
    with Registry([starts(new)]).active():
        assert list(faults_in_flight()) == []
        settle(broker, clock)
    assert (store.effects, run_of().status) == (FORWARD, "completed")


def test_flushed_broker(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    for number in range(len(FORWARD) + 1):
        want(f"t{number}")
    broker.relay()
    for number in range(len(FORWARD)):
        for _ in range(number):
            if broker.waiting:
                broker.deliver(broker.waiting[0])
        broker.messages.clear()
        clock.move(minutes=1)
        broker.sweep()
    settle(broker, clock)
    assert set(Run.objects.values_list("status", flat=True)) == {"completed"}
    assert sorted(store.effects) == sorted(FORWARD * 5)


def test_database_restart(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    """The session ends in the middle of a step: the message fails, the run stands where it stood, and goes on."""

    def end_the_session() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    store.hooks["reserve-hotel"] = end_the_session
    start(want, broker)
    step_to(broker, "reserve-hotel")
    with pytest.raises(OperationalError):
        broker.deliver(broker.waiting[0])
    connection.close()
    assert store.effects == FORWARD[:1]
    broker.messages.clear()
    settle(broker, clock)
    assert (store.effects, run_of().status) == (FORWARD, "completed")


@pytest.mark.parametrize("minutes", [-5, 5])
def test_clock_jump(want: Want, store: Store, broker: Broker, clock: MovableClock, minutes: int) -> None:
    """The clock jumps while a call is under way; nobody takes the call over, and nothing is done twice."""

    def jump() -> None:
        clock.move(minutes=minutes)

    store.hooks["charge-card"] = jump
    want()
    settle(broker, clock, turns=40)
    assert (store.effects, run_of().status) == (FORWARD, "completed")
    assert store.tries.count("charge-card") == 1


def test_poison_payload(want: Want, saga: Saga[TripWanted], store: Store, broker: Broker, clock: MovableClock) -> None:
    """An event nobody can read, and a step that kills whoever takes it: each ends alone, in front of a person."""

    class Unreadable(TripWanted):
        def model_dump_json(self, **_: Any) -> str:
            return '{"nonsense": true}'

    with transaction.atomic():
        outbox.emit(Unreadable(trip="unreadable"), now=clock())
    want("good")
    settle(broker, clock)
    parked = Delivery.objects.get()
    assert (parked.status, parked.key) == ("parked", "unreadable")
    assert run_of("good").status == "completed"
    want("deadly")
    broker.relay()
    Run.objects.update(deadline_at=None)
    for _ in range(20):
        kill_at(store, "reserve-flight")
        with contextlib.suppress(Killed):
            settle(broker, clock, turns=1)
        clock.move(minutes=15)
    run = run_of("deadly")
    assert (run.status, (run.failure or {})["error"]) == ("undone", "WorkerLostError")
    assert store.tries.count("reserve-flight") == 1 + 6, "the good one's, and the tries that left no trace"


def test_inspection_in_the_middle(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    """While a step is at work, the journal already says which, in a form for people and for machines."""
    seen: list[Any] = []

    def look() -> None:
        said = StringIO()
        call_command("sagas", "show", "t", "--json", stdout=said)
        seen.append(json.loads(said.getvalue()))

    store.hooks["charge-card"] = look
    want()
    settle(broker, clock)
    (shown,) = seen
    assert shown["status"] == "running"
    assert [(step["name"], step["status"]) for step in shown["steps"]] == [
        ("reserve-flight", "done"),
        ("reserve-hotel", "done"),
        ("charge-card", "running"),
        ("send-confirmation", "pending"),
    ]
    assert shown["steps"][0]["result"] == {"by": "reserve-flight"}


def test_a_final_undo_failure_is_visible_and_is_put_right(
    want: Want, store: Store, broker: Broker, clock: MovableClock
) -> None:
    store.says["charge-card"] = [Rejected("declined")]
    store.says["cancel-hotel"] = [Rejected("the hotel does not know us")]
    want()
    settle(broker, clock)
    assert run_of().status == "needs_attention"
    interventions.ask([run_of()], Action.SKIP, reason="called the hotel", by="ada", now=clock())
    settle(broker, clock)
    assert run_of().status == "undone"
    assert store.effects[-1] == "cancel-flight"


def test_a_late_message_of_an_old_epoch_does_nothing(
    want: Want, store: Store, broker: Broker, clock: MovableClock
) -> None:
    start(want, broker)
    step_to(broker, "reserve-hotel")
    late = broker.waiting[0].body
    assert isinstance(late, ChainMessage)
    interventions.ask([run_of()], Action.CANCEL, reason="changed their mind", by="ada", now=clock())
    settle(broker, clock)
    before = store.effects
    broker.publish(late)
    broker.work_off()
    assert store.effects == before == ["reserve-flight", "cancel-flight"]


def test_an_undo_wins_over_its_steps_late_effect(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    """The run is cancelled while the provider works; the answer, when it comes, changes nothing: it was undone."""

    def call_it_off() -> None:
        interventions.ask([run_of()], Action.CANCEL, reason="changed their mind", by="ada", now=clock())
        settle(broker, clock, turns=4)
        assert run_of().status == "undone"

    store.hooks["charge-card"] = call_it_off
    start(want, broker)
    broker.work_off()
    assert run_of().status == "undone"
    assert store.effects == [*FORWARD[:3], "refund-card", "cancel-hotel", "cancel-flight"]
    assert statuses()["charge-card"] == "undone"
    assert run_of().results.get("charge-card") is None
