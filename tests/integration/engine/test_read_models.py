"""A read model that fails in an odd way stops alone."""

from collections.abc import Sequence

import pytest

from sagas.core.read_model import ReadModel, Recorded
from sagas.core.registry import Registry
from sagas.log.followers import create_missing
from sagas.log.read_models import follow
from sagas.log.relay import relay_events
from sagas.models import Attempt, Follower
from sagas.testing import MovableClock

from .conftest import Told, emit

SEEN: list[str] = []


def take_in(events: Sequence[Recorded]) -> None:
    SEEN.extend(each.key for each in events)


def violate_a_deferred_constraint(events: Sequence[Recorded]) -> None:
    for each in events:
        Attempt.objects.create(
            step_id=-1, number=1, kind="rejected", error="of a step that is not there",
            started_at=each.occurred_at, failed_at=each.occurred_at,
        )  # fmt: skip


class AwayError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Away:
    """A store that does not answer, and whose exception has no text."""

    def position(self, *, shadow: bool) -> int:
        raise AwayError

    def apply(self, events: Sequence[Recorded], *, position: int, shadow: bool) -> None: ...
    def create_shadow(self) -> None: ...
    def drop(self) -> None: ...
    def compare(self) -> tuple[int, int]:
        return 0, 0

    def swap(self) -> None: ...


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (ReadModel("bad", events=(Told,), apply=violate_a_deferred_constraint), "at 1: IntegrityError: "),
        (ReadModel("bad", events=(Told,), store=Away()), "its store is away: (its message cannot be shown"),
    ],
    ids=["deferred constraint", "error without text"],
)
def test_others_are_not_held_up(transactional_db: None, clock: MovableClock, bad: ReadModel, error: str) -> None:
    SEEN.clear()
    good = ReadModel("good", events=(Told,), apply=take_in)
    with Registry(read_models=[bad, good]).active():
        create_missing(now=clock())
        emit(Told(name="k"), clock)
        relay_events(now=clock(), limit=10)
        follow()
    assert SEEN == ["k"]
    stopped = Follower.objects.get(name="bad")
    assert (stopped.position, stopped.error[: len(error)]) == (0, error)
