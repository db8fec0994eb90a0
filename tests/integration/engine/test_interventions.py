"""What a person may do to a run or a parked delivery, and what a stale or senseless click does: nothing."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, transaction

from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.saga import Saga
from sagas.core.statuses import Action
from sagas.engine import steps
from sagas.log.relay import new_events, relay_events
from sagas.models import Delivery, Follower, Intervention, Run, StepRun
from sagas.operations import interventions
from sagas.operations.subject import NotNow
from sagas.operations.subjects import of, possible
from sagas.testing import MovableClock, drive, run_chain, run_delivery
from tests.concurrency import another_waits_for_us, at_once
from tests.conftest import Redefine, wait_for

from .conftest import Ask, Asked, Script, Tell, intervene, standing


def run_of(key: str = "k") -> Run:
    return Run.objects.get(key=key)


def offered(clock: MovableClock, key: str = "k") -> set[str]:
    run = run_of(key)
    return {str(action) for action in possible(run, now=clock())}


def outcome() -> tuple[str, str]:
    asked = Intervention.objects.latest("pk")
    return asked.status, asked.outcome


@pytest.fixture
def stuck(ask: Ask, script: Script, clock: MovableClock) -> Run:
    """A run behind its pivot whose last step gave up."""
    script.says["last"] = [Rejected("no"), Rejected("no")]
    ask()
    drive(now=clock)
    assert standing()[0] == "needs_attention"
    return run_of()


def test_retry_gives_a_step_all_its_tries_again(stuck: Run, script: Script, clock: MovableClock) -> None:
    script.says["last"] = [Retryable("busy")]
    assert offered(clock) == {"retry", "skip"}
    for wake_up in intervene(stuck, "retry", clock).wake_ups:
        run_chain(wake_up, now=clock)
    assert standing()[0] == "running"
    clock.move(seconds=11)
    drive(now=clock)
    assert standing()[0] == "completed"
    assert run_of().attention is None


def test_skip_takes_the_step_as_done_with_the_result_given(stuck: Run, script: Script, clock: MovableClock) -> None:
    intervene(stuck, "skip", clock, result={"by": "hand"})
    assert standing() == ("completed", {"first": "done", "far": "done", "pivot": "done", "last": "done"})
    assert run_of().results["last"] == {"by": "hand"}
    assert Intervention.objects.get().applied_to == "last"


def test_a_skipped_step_in_the_middle_lets_later_ones_go_on(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [OutcomeUnknown("silence")]
    script.says["probe"] = [OutcomeUnknown("silence")] * 9
    ask()
    drive(now=clock)
    assert offered(clock) == {"retry", "skip", "undo", "cancel", "pause"}
    intervene(run_of(), "skip", clock, result={"charge": "by hand"})
    drive(now=clock)
    clock.move(minutes=1)
    drive(now=clock)
    assert standing()[0] == "completed"
    assert script.did == ["first k", "far k", "pivot k", "last k"]


def test_a_retry_now_does_not_wait_for_the_next_try(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["first"] = [Retryable("busy", retry_after_seconds=3600)]
    ask()
    drive(now=clock)
    intervene(run_of(), "retry", clock)
    drive(now=clock)
    assert standing()[0] == "completed"


def test_undo_now_undoes_what_was_done(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [Retryable("busy", retry_after_seconds=3600)]
    ask()
    drive(now=clock)
    for wake_up in intervene(run_of(), "undo", clock).wake_ups:
        run_chain(wake_up, now=clock)
    assert standing()[0] == "undone"
    assert script.did[-2:] == ["undo-first k", "say-sorry k"]
    failure = run_of().failure or {}
    assert (failure["kind"], failure["error"], failure["message"]) == ("undone", "Undone", "somebody must")


def test_cancel_undoes_and_says_who_called_it_off(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [Retryable("busy", retry_after_seconds=3600)]
    ask()
    drive(now=clock)
    intervene(run_of(), "cancel", clock)
    clock.move(minutes=1)
    drive(now=clock)
    assert standing()[0] == "undone"
    assert (run_of().failure or {})["kind"] == "cancelled"


def test_behind_the_pivot_nothing_is_undone(stuck: Run, script: Script, clock: MovableClock) -> None:
    assert intervene(stuck, "undo", clock).refused == 1
    assert outcome() == ("refused", "undo does not apply: the run needs attention at last.")
    assert standing()[0] == "needs_attention"


def test_a_paused_run_begins_no_step_and_its_deadline_waits(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["first"] = [Retryable("busy")]
    ask()
    drive(now=clock)
    deadline_at = run_of().deadline_at
    intervene(run_of(), "pause", clock)
    assert offered(clock) == {"skip", "undo", "cancel", "resume"}
    clock.move(hours=5)
    drive(now=clock)
    assert standing()[0] == "paused"
    assert script.did == ["first k"]
    intervene(run_of(), "resume", clock)
    assert deadline_at is not None
    assert run_of().deadline_at == deadline_at + timedelta(hours=5)
    drive(now=clock)
    assert (standing()[0], run_of().deadline_at) == ("completed", None)


def test_a_call_under_way_as_its_run_is_paused_is_journalled(
    ask: Ask, saga: Saga[Asked], script: Script, clock: MovableClock, redefine: Redefine
) -> None:
    far = saga.steps[1]
    call = far.run
    assert call is not None

    def pausing(this: object) -> object:
        answer = call(this)  # type: ignore[arg-type]
        intervene(run_of(), "pause", clock)
        return answer

    redefine("far", run=pausing)
    ask()
    drive(now=clock)
    assert standing() == ("paused", {"first": "done", "far": "done", "pivot": "pending", "last": "pending"})
    intervene(run_of(), "resume", clock)
    drive(now=clock)
    assert standing()[0] == "completed"
    assert script.did.count("far k") == 1


def test_an_undo_that_gave_up_is_retried_or_skipped(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["pivot"] = [Rejected("no")]
    script.says["undo-far"] = [Rejected("cannot")] * 2
    ask()
    drive(now=clock)
    assert standing()[0] == "needs_attention"
    intervene(run_of(), "retry", clock)
    drive(now=clock)
    clock.move(minutes=1)
    drive(now=clock)
    assert standing()[0] == "needs_attention"
    intervene(run_of(), "skip", clock)
    drive(now=clock)
    clock.move(minutes=1)
    drive(now=clock)
    assert standing() == (
        "undone",
        {
            "first": "undone",
            "far": "undone",
            "pivot": "failed",
            "last": "skipped",
            "undo-far": "done",
            "undo-first": "done",
            "say-sorry": "done",
        },
    )
    assert script.did.count("undo-far k") == 2


def test_a_stale_click_changes_nothing_and_says_so(stuck: Run, clock: MovableClock) -> None:
    version_token = of(stuck).version_token
    intervene(stuck, "retry", clock)
    before = Run.objects.values().get()
    assert intervene(run_of(), "skip", clock, version_token=version_token).refused == 1
    assert outcome() == ("refused", "It moved on meanwhile: it is running now. Nothing was changed.")
    assert Run.objects.values().get() == before


def test_the_second_of_two_clicks_is_refused(stuck: Run, clock: MovableClock) -> None:
    version_token = of(stuck).version_token
    assert intervene(stuck, "skip", clock, version_token=version_token).done == 1
    assert intervene(stuck, "skip", clock, version_token=version_token).refused == 1


def test_an_ended_run_offers_nothing(ask: Ask, clock: MovableClock) -> None:
    ask()
    drive(now=clock)
    assert offered(clock) == set()


def test_a_late_message_of_a_retried_step_does_nothing_twice(stuck: Run, script: Script, clock: MovableClock) -> None:
    wake_ups = intervene(stuck, "retry", clock).wake_ups
    for wake_up in [*wake_ups, *wake_ups]:
        run_chain(wake_up, now=clock)
    script.says.clear()
    assert script.did.count("last k") == 2


@pytest.mark.parametrize("reason", ["", "  ", "\x00"])
def test_a_reason_is_asked_for(stuck: Run, clock: MovableClock, reason: str) -> None:
    with pytest.raises(NotNow, match="reason"):
        interventions.ask([stuck], Action.RETRY, reason=reason, by="ada", now=clock())
    assert not Intervention.objects.exists()


@pytest.mark.parametrize("typed", ["[1]", "7", "{", '{"a": NaN}', '{"a": "\\u0000"}', "[" * 100_000])
def test_a_result_that_cannot_be_handed_on_is_refused(typed: str) -> None:
    with pytest.raises(NotNow, match="result"):
        interventions.result_from(typed)


def test_a_result_is_a_json_object_or_nothing() -> None:
    assert interventions.result_from(' {"a": 1} ') == {"a": 1}
    assert interventions.result_from("  ") is None


def test_a_parked_delivery_is_skipped_and_the_line_goes_on(tell: Tell, script: Script, clock: MovableClock) -> None:
    script.says["told k"] = [Rejected("no")]
    tell("k", 1)
    tell("k", 2)
    drive(now=clock)
    parked = Delivery.objects.get(status="parked")
    for wake_up in intervene(parked, "skip", clock).deliveries:
        run_delivery(wake_up, now=clock)
    assert script.did == ["told k 1", "told k 2"]
    assert list(Delivery.objects.order_by("pk").values_list("status", flat=True)) == ["skipped", "done"]
    assert intervene(Delivery.objects.earliest("pk"), "retry", clock).refused == 1


def test_many_are_worked_off_in_portions_and_what_is_left_by_the_next_process(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    keys = [f"k{number}" for number in range(7)]
    script.says["first"] = [Retryable("busy", retry_after_seconds=3600) for _ in keys]
    for key in keys:
        ask(key)
    drive(now=clock)
    batch = interventions.ask(Run.objects.all(), Action.RETRY, reason="the provider is back", by="ada", now=clock())
    assert interventions.progress(batch).pending == 7
    assert interventions.work(now=clock(), batch=batch, limit=5).done == 5
    assert interventions.progress(batch).pending == 2
    assert interventions.work(now=clock()).done == 2
    drive(now=clock)
    assert set(Run.objects.values_list("status", flat=True)) == {"completed"}
    assert interventions.progress(batch) == interventions.Progress(total=7, done=7, refused=0)


def test_an_intervention_does_not_wait_for_a_worker_at_its_step(
    stuck: Run, script: Script, clock: MovableClock
) -> None:
    with transaction.atomic():
        Run.objects.select_for_update(no_key=True).get()
        (asked,) = at_once(lambda: intervene(stuck, "skip", clock))
    assert asked == interventions.Worked()
    assert Intervention.objects.get().status == "pending"
    assert interventions.work(now=clock()).done == 1


def test_a_portion_costs_as_many_statements_for_many_as_for_one(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["last"] = [Rejected("no")] * 31
    for number in range(31):
        ask(f"k{number}")
    drive(now=clock)
    one, *many = list(Run.objects.order_by("key"))
    figures = []
    for runs in ([one], many):
        batch = interventions.ask(runs, Action.RETRY, reason="x", by="ada", now=clock())
        with connection.execute_wrapper(counting := Counting()):
            assert interventions.work(now=clock(), batch=batch).done == len(runs)
        figures.append(counting.statements)
    assert figures[0] == figures[1] < 12


class Counting:
    def __init__(self) -> None:
        self.statements = 0

    def __call__(self, execute: Callable[..., object], *arguments: object) -> object:
        self.statements += 1
        return execute(*arguments)


def test_a_message_under_way_when_a_person_turns_a_run_back_does_nothing(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    ask()
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    intervene(run_of(), "cancel", clock)
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=wake_up.epoch, clock=clock)
    assert script.did == []
    drive(now=clock)
    clock.move(minutes=1)
    drive(now=clock)
    assert script.did == ["say-sorry k"]
    assert StepRun.objects.filter(status="skipped").count() == 4


def test_interventions_and_the_relay_do_not_block_each_other(stuck: Run, ask: Ask, clock: MovableClock) -> None:
    """In one portion the run of a key ends and a follower moves; the relay starts another run of the key."""
    for subject in (stuck, Follower.objects.get(name="inside")):
        interventions.ask([subject], Action.SKIP, reason="by hand", by="ada", now=clock())
    ask()
    relay_is_busy = threading.Event()

    def find_new(limit: int, low_priority: bool) -> list[tuple[int, str]]:
        relay_is_busy.set()
        wait_for(another_waits_for_us)
        return new_events(limit, low_priority)

    def work() -> int:
        relay_is_busy.wait(10)
        return interventions.work(now=clock()).done

    relayed, done = at_once(lambda: relay_events(now=clock(), limit=10, find_new=find_new).events, work)
    assert (relayed, done) == (1, 2)
