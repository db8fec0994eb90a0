"""Fences: each of these fails if its check is left out."""

from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.core.errors import Retryable
from sagas.core.statuses import RunStatus
from sagas.engine import limits, steps, undo
from sagas.engine.sweep import sweep_runs
from sagas.log.relay import relay_events
from sagas.models import Delivery, Run, StepRun
from sagas.testing import MovableClock, drive, run_delivery
from tests.conftest import Redefine

from .conftest import Ask, Script, Tell, ids, standing


def test_a_step_is_not_taken_for_a_message_of_an_old_epoch(ask: Ask, script: Script, clock: MovableClock) -> None:
    ask()
    relay_events(now=clock(), limit=10)
    Run.objects.update(epoch=2)
    assert not steps.execute(run_ids=ids(), place=0, epoch=1, clock=clock).carries_on
    assert script.did == []


def test_a_run_is_not_undone_or_handed_over_for_an_old_epoch(ask: Ask, clock: MovableClock) -> None:
    ask()
    relay_events(now=clock(), limit=10)
    failure = {"step": "first", "kind": "rejected", "error": "Rejected", "message": "no"}
    Run.objects.update(epoch=2, failure=failure, attention=failure)
    assert undo.start_undo(run_ids=ids(), epoch=1, now=clock()) == []
    assert undo.hand_over(run_ids=ids(), epoch=1, now=clock()) == 0
    assert Run.objects.get().status == RunStatus.RUNNING


def test_an_answer_is_not_settled_in_a_later_epoch(
    ask: Ask, script: Script, clock: MovableClock, redefine: Redefine
) -> None:
    ask()
    (wake_up,) = relay_events(now=clock(), limit=10).wake_ups
    steps.execute(run_ids=wake_up.run_ids, place=0, epoch=1, clock=clock)

    def late(call: Any) -> dict[str, str]:
        Run.objects.update(epoch=2)
        return {"by": "the late one"}

    redefine("far", run=late)
    assert not steps.execute(run_ids=wake_up.run_ids, place=1, epoch=1, clock=clock).carries_on
    assert StepRun.objects.get(name="far").status == "running"
    assert "far" not in Run.objects.get().results


def test_a_delivery_is_not_settled_by_who_lost_the_lease(
    tell: Tell, script: Script, clock: MovableClock, redefine: Redefine
) -> None:
    other = UUID(int=7)

    def frozen(received: Any) -> None:
        Delivery.objects.update(lease_token=other)

    redefine("inside", outside=True, react=frozen)
    tell("k", 1)
    (wake_up,) = relay_events(now=clock(), limit=10).deliveries
    run_delivery(wake_up, now=clock)
    assert Delivery.objects.values_list("status", "lease_token").get() == ("running", other)


def test_the_deadline_undoes_a_run_that_waits_at_its_pivot(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["pivot"] = [Retryable("busy", retry_after_seconds=7200)]
    ask()
    drive(now=clock)
    clock.move(seconds=3601)
    drive(now=clock)
    assert standing()[0] == "undone"
    assert script.did == ["first k", "far k", "pivot k", "undo-far k", "undo-first k", "say-sorry k"]


@pytest.mark.parametrize("what", ["late", "stuck"])
def test_a_sweep_costs_as_many_statements_for_many_runs_as_for_one(ask: Ask, clock: MovableClock, what: str) -> None:
    figures = []
    for keys in (["one"], [f"k{number}" for number in range(9)]):
        for key in keys:
            ask(key)
        relay_events(now=clock(), limit=10)
        if what == "late":
            clock.move(hours=2)
        else:
            clock.move(minutes=1)
            Run.objects.filter(key__in=keys).update(resends=limits.MAX_RESENDS)
        Run.objects.exclude(key__in=keys).delete()
        with CaptureQueriesContext(connection) as captured:
            sweep_runs(now=clock(), limit=100)
        figures.append(len(captured))
    assert figures[0] == figures[1]
