"""Engine and broker as a state machine: messages are lost, doubled, late and out of order, processes die at any commit
or publication, calls hang and answers get lost, clocks jump, people press buttons; after each step everything that
stands must be right, and in the end everything ends.

`make model` walks 10,000 histories; a run of the tests walks 150.
"""

import os
import random
import sys
from collections.abc import Iterator

import pytest
from django.db import connection
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sagas.cli.progress_bar import progress
from sagas.core.statuses import Action
from sagas.models import Run
from sagas.testing import Message

from .world import ANSWERS, World

HISTORIES = int(os.environ.get("MODEL_HISTORIES", "150"))
#: A part for each processor.
PARTS = 2
SEED = int(os.environ.get("MODEL_SEED") or random.SystemRandom().randrange(2**32))

#: Most processes live; one that dies does so at an early boundary: there are not many in one message.
DIES_AT = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
WHICH = st.integers(0, 9)
CALLED = ("prepare", "clear-up", "pay", "pay?", "give-back", "send", "tell", "say-sorry")


class Engine(RuleBasedStateMachine):
    """The rules; `World` does the work and knows what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.wanted = 0

    def teardown(self) -> None:
        try:
            self.world.recover()
            self.world.check()
        finally:
            self.world.close()

    @property
    def waiting(self) -> list[Message]:
        return self.world.broker.waiting

    def message(self, which: int) -> Message:
        return self.waiting[which % len(self.waiting)]

    # Business

    @precondition(lambda self: self.wanted < 4)
    @rule(name=st.sampled_from("ab"))
    def want(self, name: str) -> None:
        self.wanted += 1
        self.world.want(name)

    @rule(name=st.sampled_from(CALLED), answer=st.sampled_from(ANSWERS))
    def answer(self, name: str, answer: str) -> None:
        self.world.answers.setdefault(name, []).append(answer)

    # Processes

    @rule(dies_at=DIES_AT)
    def relay(self, dies_at: int) -> None:
        self.world.in_a_process(self.world.broker.relay, dies_at=dies_at)

    @rule(dies_at=DIES_AT)
    def sweep(self, dies_at: int) -> None:
        self.world.in_a_process(self.world.broker.sweep, dies_at=dies_at)

    @precondition(lambda self: self.waiting)
    @rule(which=WHICH, dies_at=DIES_AT)
    def work(self, which: int, dies_at: int) -> None:
        self.world.deliver(self.message(which), dies_at=dies_at)

    @precondition(lambda self: self.waiting)
    @rule()
    def work_off(self) -> None:
        for _ in range(12):
            if self.waiting:
                self.world.deliver(self.waiting[0])

    # The broker

    @precondition(lambda self: self.waiting)
    @rule(which=WHICH)
    def lose(self, which: int) -> None:
        self.world.broker.drop(self.message(which))

    @precondition(lambda self: 0 < len(self.waiting) < 20)
    @rule(which=WHICH)
    def double(self, which: int) -> None:
        self.world.broker.double(self.message(which))

    @precondition(lambda self: self.waiting)
    @rule()
    def flush(self) -> None:
        self.world.broker.messages.clear()

    # Time and people

    @rule(seconds=st.sampled_from([1, 5, 40, 40, 200, 700, 4000, -120]))
    def move(self, seconds: int) -> None:
        self.world.clock.move(seconds=seconds)

    @rule(
        which=WHICH,
        action=st.sampled_from([action for action in Action if action not in (Action.SKIP, Action.REPLAY)]),
        dies_at=DIES_AT,
    )
    def intervene(self, which: int, action: Action, dies_at: int) -> None:
        runs = list(Run.objects.order_by("id"))
        if runs:
            self.world.intervene(runs[which % len(runs)], action, dies_at=dies_at)

    @invariant()
    def everything_is_right(self) -> None:
        self.world.check()


@pytest.fixture
def effects(transactional_db: None) -> Iterator[None]:
    """A table for the effects of inside steps; no unique constraint hides a second one."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE model_effect (key text, what text)")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE model_effect")


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_every_run_ends_and_every_effect_is_made_once(effects: None, part: int) -> None:
    print(f"MODEL_SEED={SEED}")  # noqa: T201 - shown with a failure, to walk the same histories again
    walk = settings(
        max_examples=HISTORIES // PARTS,
        database=None,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    with progress(f"Part {part + 1} of {PARTS}", HISTORIES // PARTS, lambda line: print(line, file=sys.stderr)) as show:  # noqa: T201

        class Walk(Engine):
            walked = 0

            def teardown(self) -> None:
                super().teardown()
                Walk.walked += 1
                show(Walk.walked, f"{Walk.walked} histories")

        run_state_machine_as_test(seed(SEED + part)(Walk), settings=walk)
