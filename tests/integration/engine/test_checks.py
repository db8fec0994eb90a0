"""Mistakes that are found before they bite: in definitions, and in runs under way as code changes."""

import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from sagas.core import registry
from sagas.core.errors import OutcomeUnknown, Rejected
from sagas.core.retry import Retry
from sagas.core.saga import Pivot, Saga, Step
from sagas.core.subscription import Subscription
from sagas.models import Run
from sagas.operations.stranded_runs import faults_in_flight
from sagas.operations.system_checks import check_definitions
from sagas.testing import MovableClock, drive

from .conftest import Ask, Asked, Deploy, Script, Told, standing


@pytest.fixture
def deploy_steps(saga: Saga[Asked], deploy: Deploy) -> Deploy:
    """Put a saga of these steps in the place of the one there is."""
    return lambda *steps: deploy(replace(saga, steps=steps))


def faults() -> list[str]:
    return [fault.fault for fault in faults_in_flight()]


@pytest.fixture
def half_way(ask: Ask, script: Script, clock: MovableClock) -> Run:
    """A run that waits for the answer of `far`."""
    script.says["far"] = [OutcomeUnknown("silence")]
    script.says["probe"] = [OutcomeUnknown("silence")] * 99
    ask()
    drive(now=clock)
    assert standing()[1] == {"first": "done", "far": "unknown", "pivot": "pending", "last": "pending"}
    return Run.objects.get()


# Definitions ----------------------------------------------------------------------------------------------------------


def test_the_shop_has_no_faults() -> None:
    assert check_definitions() == []


def wrong(**parts: Any) -> Step:
    asked: dict[str, Any] = {"queue": "sagas", "run": lambda call: None, "undo": lambda call: None}
    return Step("wrong", **asked | parts)


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (wrong(undo=None), "step 'wrong' stands before the pivot and has no undo"),
        (wrong(queue="nowhere"), "CELERY_TASK_QUEUES has no queue 'nowhere'"),
        (wrong(retry=Retry(attempts=0)), "retry allows no try"),
        (wrong(undo_retry=Retry(attempts=0)), "undo_retry allows no try"),
        (wrong(retry=Retry(base_seconds=5, cap_seconds=1)), "the pauses of retry go from 5 to 1 s"),
        (wrong(retry=Retry(try_seconds=3600)), "a try of 3600 s (retry) does not end before Celery's 50 s"),
        (wrong(lease=timedelta(0)), "its lease is over before it began"),
    ],
)
def test_a_mistake_in_a_definition_fails_at_start_up(
    saga: Saga[Asked], step: Step, fault: str, deploy_steps: Deploy
) -> None:
    deploy_steps(step, *saga.steps)
    assert any(fault in message.msg for message in check_definitions())


def test_a_subscription_and_a_step_cannot_share_a_task(saga: Saga[Asked], script: Script) -> None:
    registry.register([Subscription("first", event=Told, queue="sagas", react=script.react)])
    assert [message.id for message in check_definitions()] == ["sagas.E002"]


def test_a_try_that_outlasts_celerys_patience_is_a_fault(saga: Saga[Asked], settings: Any) -> None:
    settings.SAGAS_TRY_SECONDS = 50.0
    assert [message.id for message in check_definitions()] == ["sagas.E005"]


@pytest.mark.parametrize(
    ("outside", "at_once", "ids"), [(True, 1, []), (True, 0, ["sagas.E004"]), (False, 1, ["sagas.E004"])]
)
def test_few_at_once_are_of_reactions_outside(
    saga: Saga[Asked], script: Script, outside: bool, at_once: int, ids: list[str]
) -> None:
    registry.register(
        [Subscription("few", event=Told, queue="sagas", react=script.react, outside=outside, at_once=at_once)]
    )
    assert [message.id for message in check_definitions()] == ids


# Runs in flight -------------------------------------------------------------------------------------------------------


def test_a_run_in_flight_can_go_on_with_the_code_it_began_with(half_way: Run) -> None:
    assert faults() == []


def test_a_new_step_disturbs_no_run_in_flight(
    half_way: Run, saga: Saga[Asked], script: Script, deploy_steps: Deploy
) -> None:
    new = Step("new", queue="sagas", run=script.step("new"), undo=script.step("undo-new"))
    deploy_steps(new, *saga.steps)
    assert faults() == []


def test_a_step_that_is_gone_strands_the_runs_that_have_it_before_them(
    half_way: Run, saga: Saga[Asked], deploy_steps: Deploy
) -> None:
    deploy_steps(*saga.steps[:3])
    assert faults() == ["saga test has no step 'last'"]


def test_a_step_that_is_gone_strands_the_runs_that_may_have_to_undo_it(
    half_way: Run, saga: Saga[Asked], deploy_steps: Deploy
) -> None:
    deploy_steps(*saga.steps[1:])
    assert faults() == ["there is no step 'first' any more, which took effect and may have to be undone"]


def test_another_order_of_steps_is_reported(half_way: Run, saga: Saga[Asked], deploy_steps: Deploy) -> None:
    first, far, pivot, last = saga.steps
    deploy_steps(far, first, pivot, last)
    assert faults() == ["its steps are in another order: first, far, pivot, last"]


def test_a_pivot_that_moved_is_reported(half_way: Run, saga: Saga[Asked], deploy_steps: Deploy) -> None:
    first, far, pivot, last = saga.steps
    plain = Step("pivot", queue="sagas", run=pivot.run, undo=first.undo)
    deploy_steps(first, far, plain, Pivot("last", queue="sagas", run=last.run))
    assert faults() == ["step 'pivot' was the pivot when it began", "step 'last' was not the pivot when it began"]


def test_an_unanswered_call_that_nobody_can_ask_after_is_reported(
    half_way: Run, saga: Saga[Asked], deploy_steps: Deploy
) -> None:
    first, far, *rest = saga.steps
    deploy_steps(first, Step("far", queue="sagas", run=far.run, undo=far.undo), *rest)
    assert faults() == ["step 'far' has an unanswered call and nothing to ask after it"]


def test_an_input_that_cannot_be_read_is_reported(half_way: Run, saga: Saga[Asked], deploy: Deploy) -> None:
    class AskedNow(Asked):
        type = "tests.asked"
        colour: str

    deploy(replace(saga, input=AskedNow))
    assert faults() == ["its input cannot be read: colour: Field required"]


def test_a_saga_that_is_gone_strands_all_its_runs(half_way: Run, deploy: Deploy) -> None:
    deploy()
    assert faults() == ["no saga is called 'test'; known: none"]


def test_ended_runs_do_not_matter(ask: Ask, clock: MovableClock, deploy: Deploy) -> None:
    ask()
    drive(now=clock)
    deploy()
    assert faults() == []


def test_a_run_that_is_being_undone_needs_no_step_that_it_never_took(
    ask: Ask, saga: Saga[Asked], script: Script, clock: MovableClock, deploy_steps: Deploy
) -> None:
    script.says["far"] = [Rejected("no")]
    script.says["undo-first"] = [Rejected("cannot")]
    ask()
    drive(now=clock)
    assert standing()[0] == "needs_attention"
    deploy_steps(*saga.steps[:2])
    assert faults() == []


def test_the_command_fails_for_ci_and_tells_machines_too(
    half_way: Run, saga: Saga[Asked], deploy_steps: Deploy
) -> None:
    said = StringIO()
    call_command("sagas", "check", "--in-flight", stdout=said)
    assert said.getvalue() == "Definitions: 1, without faults.\nRuns in flight: 1, all can go on with this code.\n"
    deploy_steps(*saga.steps[:3])
    said = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("sagas", "check", "--in-flight", stdout=said)
    assert f"run {half_way.id} (test of k, running): saga test has no step 'last'" in said.getvalue()
    said = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("sagas", "check", "--in-flight", "--json", stdout=said)
    assert [found["key"] for found in json.loads(said.getvalue())["in_flight"]] == ["k"]


# What happens to them all the same ------------------------------------------------------------------------------------


def test_a_run_no_code_knows_the_rest_of_comes_in_front_of_a_person(
    half_way: Run, saga: Saga[Asked], script: Script, clock: MovableClock, deploy_steps: Deploy
) -> None:
    Run.objects.update(deadline_at=None)
    first, _, *rest = saga.steps
    deploy_steps(first, *rest)
    for _ in range(12):
        clock.move(minutes=11)
        drive(now=clock)
    assert standing()[0] == "needs_attention"
    assert (Run.objects.get().attention or {})["error"] == "RunOfOtherCodeError"


def test_a_run_of_a_saga_no_code_knows_comes_in_front_of_a_person(
    half_way: Run, clock: MovableClock, deploy: Deploy
) -> None:
    deploy()
    clock.move(minutes=50)
    drive(now=clock)
    assert standing()[0] == "running"
    clock.move(minutes=20)
    drive(now=clock)
    assert standing()[0] == "needs_attention"
