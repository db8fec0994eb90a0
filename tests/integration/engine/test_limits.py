"""A try that takes too long is cut short where it hangs, and the run goes on by its policy."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from sagas.core.errors import TryTimedOut
from sagas.core.retry import Retry
from sagas.core.saga import Saga
from sagas.db.time_limit import time_limit
from sagas.models import Attempt, Delivery, Event, Run
from sagas.testing import MovableClock, drive
from tests.conftest import Redefine

from .conftest import Ask, Asked, Script, Tell, standing

HASTY = Retry(attempts=2, base_seconds=10, try_seconds=0.2)


def query_for_ever() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")


def compute_for_ever() -> None:
    while True:
        pass


def hang(redefine: Redefine, step: Any, how: Callable[[], object]) -> None:
    """Have the step hang the first time it is tried, after an effect."""
    act = step.run

    def once(call: Any) -> Any:
        if call.attempt == 1:
            Delivery.objects.create(event=Event.objects.get(), subscription="an effect", key=call.key)
            how()
        return act(call)

    redefine(step.name, run=once, retry=HASTY)


@pytest.mark.parametrize("how", [query_for_ever, compute_for_ever, lambda: time.sleep(60)])
def test_an_inside_step_that_hangs_is_cut_short_and_tried_again(
    ask: Ask, saga: Saga[Asked], clock: MovableClock, redefine: Redefine, how: Callable[[], object]
) -> None:
    hang(redefine, saga.steps[0], how)
    ask()
    drive(now=clock)
    assert list(Attempt.objects.values_list("kind", "error", "message")) == [
        ("unexpected", "TryTimedOut", "cut short after 0.2 s")
    ]
    clock.move(seconds=11)
    drive(now=clock)
    assert standing()[0] == "completed"
    assert not Delivery.objects.filter(subscription="an effect").exists(), "what the try had done is rolled back"


def test_an_outside_call_that_hangs_is_unknown_and_asked_after(
    ask: Ask, saga: Saga[Asked], script: Script, clock: MovableClock, redefine: Redefine
) -> None:
    hang(redefine, saga.steps[1], lambda: time.sleep(60))
    ask()
    drive(now=clock)
    assert standing()[1]["far"] == "unknown"
    clock.move(seconds=11)
    drive(now=clock)
    assert standing()[0] == "completed"
    assert script.did == ["first k", "probe k", "pivot k", "last k"]


def test_a_reaction_that_hangs_is_cut_short(
    tell: Tell, script: Script, clock: MovableClock, redefine: Redefine, settings: Any
) -> None:
    settings.SAGAS_TRY_SECONDS = 0.2
    tell("k", 1)
    react = script.react

    def hanging(received: Any) -> None:
        if received.attempt == 1:
            time.sleep(60)
        react(received)

    redefine("inside", react=hanging)
    drive(now=clock)
    assert Attempt.objects.get().error == "TryTimedOut"
    clock.move(seconds=11)
    drive(now=clock)
    assert Delivery.objects.get().status == "done"


def test_a_call_may_take_no_longer_than_its_lease(
    ask: Ask, saga: Saga[Asked], clock: MovableClock, redefine: Redefine, settings: Any
) -> None:
    settings.SAGAS_LEASE_SECONDS = 0.2
    redefine("far", run=lambda call: compute_for_ever())
    ask()
    drive(now=clock)
    assert Attempt.objects.get().error == "TryTimedOut"


def test_code_that_swallows_the_first_warning_gets_another() -> None:
    def stubborn() -> None:
        with time_limit(0.1):
            with contextlib.suppress(TryTimedOut):
                time.sleep(60)
            time.sleep(60)

    began = time.monotonic()
    with pytest.raises(TryTimedOut):
        stubborn()
    assert time.monotonic() - began < 10


def test_an_alarm_of_somebody_else_is_given_back() -> None:
    heard = threading.Event()
    before = signal.getsignal(signal.SIGALRM)
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        signal.signal(signal.SIGALRM, lambda *_: heard.set())
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with time_limit(60):
            pass
        assert heard.wait(10)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def test_in_a_thread_there_is_no_limit_and_no_harm() -> None:
    answers: list[str] = []

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.05)
        answers.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert answers == ["done"]


def test_a_run_whose_step_always_hangs_ends(
    ask: Ask, saga: Saga[Asked], clock: MovableClock, redefine: Redefine
) -> None:
    redefine("first", run=lambda call: query_for_ever(), retry=HASTY)
    ask()
    for _ in range(3):
        drive(now=clock)
        clock.move(minutes=1)
    assert (Run.objects.get().failure or {})["error"] == "TryTimedOut"
    assert standing()[0] == "undone"
