"""The engine against its journal: what each failure leads to, for one run and in a batch."""

from dataclasses import replace
from datetime import timedelta

import pytest

from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.registry import Registry
from sagas.core.saga import Saga, Step
from sagas.core.subscription import starts
from sagas.engine import steps
from sagas.log.relay import relay_events
from sagas.models import Attempt, Event, Run, StepRun
from sagas.testing import MovableClock, drive
from tests.conftest import Redefine
from tests.factories.journal import EventFactory

from .conftest import Ask, Asked, Script, emit, ids, standing


def test_forward_success(ask: Ask, script: Script, clock: MovableClock) -> None:
    ask()
    drive(now=clock)
    assert script.did == ["first k", "far k", "pivot k", "last k"]
    assert standing() == ("completed", {"first": "done", "far": "done", "pivot": "done", "last": "done"})
    run = Run.objects.get()
    assert run.results["far"] == {"by": "far"}
    assert (run.due_at, run.finished_at) == (None, clock())


def test_a_saga_may_have_a_single_step(batches: None, transactional_db: None, clock: MovableClock) -> None:
    saga = Saga("short", input=Asked, steps=(Step("only", queue="sagas", run=lambda call: {"by": call.key}),))
    with Registry([starts(saga)]).active():
        for key in "ab":
            emit(Asked(name=key), clock)
        drive(now=clock)
    assert [(run.status, run.results) for run in Run.objects.order_by("key")] == [
        ("completed", {"only": {"by": "a"}}),
        ("completed", {"only": {"by": "b"}}),
    ]
    assert {row.idempotency_key for row in StepRun.objects.all()} == {f"{pk}:only" for pk in ids("a", "b")}


def test_a_rejection_at_the_first_step_undoes_nothing(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["first"] = [Rejected("no")]
    ask()
    drive(now=clock)
    assert script.did == ["first k", "say-sorry k"]
    assert standing()[0] == "undone"


def test_a_run_that_has_nothing_to_undo_is_over_at_once(
    saga: Saga[Asked], ask: Ask, script: Script, clock: MovableClock
) -> None:
    script.says["first"] = [Rejected("no")]
    with Registry([starts(replace(saga, after_undo=()))]).active():
        ask()
        drive(now=clock)
    assert script.did == ["first k"]
    assert standing()[0] == "undone"


def test_a_rejection_at_the_pivot_undoes_what_came_before_in_reverse(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    script.says["pivot"] = [Rejected("no van today")]
    ask()
    drive(now=clock)
    assert script.did == ["first k", "far k", "pivot k", "undo-far k", "undo-first k", "say-sorry k"]
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
    assert Run.objects.get().failure == {
        "step": "pivot",
        "kind": "rejected",
        "error": "Rejected",
        "message": "no van today",
    }


def test_a_failure_behind_the_pivot_never_goes_back(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["last"] = [Rejected("cannot")]
    ask()
    drive(now=clock)
    assert script.did == ["first k", "far k", "pivot k", "last k"]
    run = Run.objects.get()
    assert run.status == "needs_attention"
    assert (run.attention or {})["step"] == "last"
    assert run.failure is None


def test_a_bug_is_tried_again_and_then_given_up(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["first"] = [ZeroDivisionError("bug"), ZeroDivisionError("bug")]
    ask()
    drive(now=clock)
    assert standing()[0] == "running"
    clock.move(seconds=11)
    drive(now=clock)
    assert standing()[0] == "undone"
    assert list(Attempt.objects.order_by("number").values_list("number", "kind", "error")) == [
        (1, "unexpected", "ZeroDivisionError"),
        (2, "unexpected", "ZeroDivisionError"),
    ]
    assert "ZeroDivisionError: bug" in Attempt.objects.get(number=1).traceback


def test_a_retry_waits_for_its_time(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["first"] = [Retryable("busy", retry_after_seconds=120)]
    ask()
    drive(now=clock)
    run = Run.objects.get()
    for seconds in (0, 60, 59):
        clock.move(seconds=seconds)
        outcome = steps.execute(run_ids=[run.id], place=0, epoch=1, clock=clock)
        assert not outcome.carries_on
    assert script.did == ["first k"]
    clock.move(seconds=1)
    drive(now=clock)
    assert standing()[0] == "completed"


def test_a_lost_answer_is_asked_for_and_taken_as_done(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [OutcomeUnknown("silence")]
    ask()
    drive(now=clock)
    assert standing()[1]["far"] == "unknown"
    clock.move(seconds=11)
    drive(now=clock)
    assert script.did == ["first k", "far k", "probe k", "pivot k", "last k"]
    assert Run.objects.get().results["far"] == {"by": "probe"}


def test_a_lost_call_is_made_again_with_the_same_key(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [OutcomeUnknown("silence")]
    script.says["probe"] = ["nothing found"]
    ask()
    drive(now=clock)
    clock.move(seconds=11)
    drive(now=clock)
    assert script.did == ["first k", "far k", "probe k", "far k", "pivot k", "last k"]
    assert len(script.keys["far"] | script.keys["probe"]) == 1


def test_an_unknown_outcome_that_stays_unknown_is_undone_too(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["far"] = [OutcomeUnknown("silence")]
    script.says["probe"] = [OutcomeUnknown("silence")]
    ask()
    drive(now=clock)
    clock.move(seconds=11)
    drive(now=clock)
    assert script.did == ["first k", "far k", "probe k", "undo-far k", "undo-first k", "say-sorry k"]
    assert standing()[1]["far"] == "undone"
    assert script.keys["undo-far"] == script.keys["far"]


def test_an_undo_is_tried_again_and_does_not_undo_twice(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["pivot"] = [Rejected("no")]
    script.says["undo-first"] = [Retryable("busy")]
    ask()
    drive(now=clock)
    assert standing()[0] == "undoing"
    clock.move(seconds=11)
    drive(now=clock)
    assert script.did == [
        "first k", "far k", "pivot k", "undo-far k", "undo-first k", "undo-first k", "say-sorry k",
    ]  # fmt: skip
    assert standing()[0] == "undone"


def test_an_undo_that_gives_up_needs_a_person(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["pivot"] = [Rejected("no van")]
    script.says["undo-far"] = [Retryable("down"), Retryable("still down")]
    ask()
    drive(now=clock)
    clock.move(seconds=11)
    drive(now=clock)
    run = Run.objects.get()
    assert run.status == "needs_attention"
    assert [(run.attention or {})[fact] for fact in ("step", "message")] == ["undo-far", "still down"]
    assert (run.failure or {})["message"] == "no van"
    assert script.did[-1] == "undo-far k"
    clock.move(days=9)
    drive(now=clock)
    assert script.did[-1] == "undo-far k"


def test_an_inside_step_is_rolled_back_with_its_failure(
    ask: Ask, script: Script, clock: MovableClock, redefine: Redefine
) -> None:
    def write_and_fail(call: object) -> None:
        EventFactory.create()
        raise Rejected("after writing")

    event = ask()
    relayed = relay_events(now=clock(), limit=10)
    redefine("first", run=write_and_fail)
    outcome = steps.execute(run_ids=relayed.wake_ups[0].run_ids, place=0, epoch=1, clock=clock)
    assert outcome.failed is not None
    assert not Event.objects.exclude(pk=event.pk).exists()
    assert StepRun.objects.get(name="first").status == "failed"


@pytest.mark.parametrize("result", [{"file": object()}, {"ratio": float("nan")}, {"text": "a\x00b"}])
def test_a_result_that_cannot_be_stored_fails_its_own_step_only(
    ask: Ask, script: Script, clock: MovableClock, result: dict[str, object]
) -> None:
    script.says["first"] = [result, result]
    ask()
    drive(now=clock)
    clock.move(seconds=11)
    drive(now=clock)
    assert standing()[0] == "undone"
    assert Attempt.objects.filter(kind="unexpected").count() == 2


class Speechless(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Rejected("a\x00b"), "a\N{REPLACEMENT CHARACTER}b"),
        (Rejected("\ud800"), "?"),
        (Speechless(), "(its message cannot be shown: RuntimeError)"),
    ],
)
def test_whatever_an_exception_says_can_be_journalled(
    ask: Ask, script: Script, clock: MovableClock, error: Exception, message: str
) -> None:
    script.says["first"] = [error, error]
    ask()
    drive(now=clock)
    clock.move(seconds=11)
    drive(now=clock)
    assert standing()[0] == "undone"
    assert (Run.objects.get().failure or {})["message"] == message


# Batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_shares_its_chain(batches: None, ask: Ask, script: Script, clock: MovableClock) -> None:
    for key in "abc":
        ask(key)
    wake_ups = relay_events(now=clock(), limit=10).wake_ups
    assert [len(wake_up.run_ids) for wake_up in wake_ups] == [3]
    outcome = steps.execute(run_ids=wake_ups[0].run_ids, place=0, epoch=1, clock=clock)
    assert outcome.carries_on
    assert script.did == ["first a", "first b", "first c"]


def test_a_run_that_is_refused_in_a_batch_is_undone_and_its_neighbours_do_not_notice(
    batches: None, ask: Ask, script: Script, clock: MovableClock
) -> None:
    """No second message and no second call: the refusal is journalled where it is found."""
    for key in "abc":
        ask(key)
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    script.says["first"] = [{"ok": 1}, Rejected("b is refused"), {"ok": 1}]
    outcome = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    assert (outcome.carries_on, outcome.failed) == (True, None)
    assert [(undo.run_ids, [task.name for task in undo.tasks]) for undo in outcome.wake_ups] == [
        ((ids("b")[0],), ["sagas.say_sorry"])
    ]
    assert set(Run.objects.filter(place=1).values_list("key", flat=True)) == {"a", "c"}
    attempt = Attempt.objects.get()
    assert (attempt.number, attempt.kind, attempt.message) == (1, "rejected", "b is refused")
    assert script.did == ["first a", "first b", "first c"]


def test_a_run_that_fails_in_a_batch_is_tried_again_later(
    batches: None, ask: Ask, script: Script, clock: MovableClock, longest_pauses: None
) -> None:
    for key in "abc":
        ask(key)
    wake_up = relay_events(now=clock(), limit=10).wake_ups[0]
    script.says["first"] = [{"ok": 1}, ZeroDivisionError("a bug"), {"ok": 1}]
    outcome = steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)
    assert (outcome.carries_on, outcome.wake_ups, outcome.failed) == (True, [], None)
    row = StepRun.objects.get(run__key="b", name="first")
    assert (row.status, row.attempts, row.held_until) == ("pending", 1, clock() + timedelta(seconds=10))
    assert Attempt.objects.get().error == "ZeroDivisionError"
    clock.move(seconds=11)
    drive(now=clock)
    assert {standing(key)[0] for key in "abc"} == {"completed"}


def test_an_outside_call_that_fails_in_a_batch_is_not_made_twice(
    batches: None, ask: Ask, script: Script, clock: MovableClock
) -> None:
    for key in "abc":
        ask(key)
    script.says["far"] = [{}, Rejected("b is refused"), {}]
    drive(now=clock)
    assert [done for done in script.did if done.startswith("far")] == ["far a", "far b", "far c"]
    assert [standing(key)[0] for key in "abc"] == ["completed", "undone", "completed"]
