"""A step that is given up, or an undo that is at work, while its run is paused."""

import pytest

from sagas.core.errors import Rejected, Retryable
from sagas.core.saga import Call, Result
from sagas.models import Run
from sagas.testing import MovableClock, drive
from tests.conftest import Redefine

from .conftest import Ask, Asked, Script, intervene, standing


def run_of() -> Run:
    return Run.objects.get(key="k")


@pytest.fixture
def refused_while_paused(ask: Ask, script: Script, clock: MovableClock, redefine: Redefine) -> None:
    """A run behind its pivot is paused during the call of its last step, which is refused."""

    def last(call: Call[Asked]) -> Result:
        script.did.append(f"last {call.key}")
        intervene(run_of(), "pause", clock)
        raise Rejected("no")

    redefine("last", run=last, probe=script.step("probe"), outside=True)
    ask()
    drive(now=clock)
    assert standing()[0] == "paused"


@pytest.mark.usefixtures("refused_while_paused")
def test_a_step_that_was_given_up_while_its_run_was_paused_is_not_called_again(
    script: Script, clock: MovableClock
) -> None:
    intervene(run_of(), "resume", clock)
    drive(now=clock)
    assert standing()[0] == "needs_attention"
    assert (run_of().attention or {})["message"] == "no"
    assert script.did.count("last k") == 1


@pytest.mark.usefixtures("refused_while_paused")
def test_a_skipped_step_of_a_paused_run_needs_nobody_any_more(clock: MovableClock) -> None:
    intervene(run_of(), "skip", clock)
    assert (standing()[0], run_of().attention) == ("completed", None)


@pytest.fixture
def refused_before_the_pivot(ask: Ask, script: Script, clock: MovableClock, redefine: Redefine) -> None:
    """A run before its pivot is paused during a call that is refused; its undo has not begun."""

    def far(call: Call[Asked]) -> Result:
        intervene(run_of(), "pause", clock)
        raise Rejected("no")

    redefine("far", run=far)
    ask()
    drive(now=clock)
    assert (standing()[0], (run_of().failure or {})["step"]) == ("paused", "far")


@pytest.mark.usefixtures("refused_before_the_pivot")
@pytest.mark.parametrize("skips", [1, 2, 3])
def test_a_step_that_was_given_up_while_its_run_was_paused_can_be_skipped(clock: MovableClock, skips: int) -> None:
    for _ in range(skips):
        intervene(run_of(), "skip", clock)
    assert run_of().failure is None
    if standing()[0] == "paused":
        intervene(run_of(), "resume", clock)
        drive(now=clock)
    assert (standing()[0], run_of().failure) == ("completed", None)


@pytest.mark.usefixtures("refused_before_the_pivot")
def test_a_run_whose_step_was_given_up_while_it_was_paused_is_undone_once_it_goes_on(clock: MovableClock) -> None:
    intervene(run_of(), "resume", clock)
    drive(now=clock)
    assert (standing()[0], (run_of().failure or {})["message"]) == ("undone", "no")


def test_an_undo_can_be_paused_too(ask: Ask, script: Script, clock: MovableClock) -> None:
    script.says["pivot"] = [Rejected("no")]
    script.says["undo-far"] = [Retryable("busy", retry_after_seconds=60)]
    ask()
    drive(now=clock)
    assert standing()[0] == "undoing"
    intervene(run_of(), "pause", clock)
    clock.move(hours=1)
    drive(now=clock)
    assert script.did[-1] == "undo-far k"
    intervene(run_of(), "resume", clock)
    drive(now=clock)
    assert standing()[0] == "undone"
