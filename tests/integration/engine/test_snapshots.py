"""A snapshot is a cache: with it, without it, with an old or a broken one, a subject has become the same."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagas.core.events import Data, DomainEvent
from sagas.core.folds import Fold, State, when
from sagas.core.ids import new_id
from sagas.log import outbox
from sagas.log.snapshots import Reached, current, state_of
from sagas.models import Event, Snapshot
from tests.concurrency import at_once

pytestmark = pytest.mark.usefixtures("transactional_db")


class Moved(DomainEvent):
    type: ClassVar[str] = "tests.moved"
    aggregate: ClassVar[str] = "shelf"

    shelf: str
    by: int

    @property
    def subject_id(self) -> str:
        return self.shelf


class Emptied(DomainEvent):
    type: ClassVar[str] = "tests.emptied"
    aggregate: ClassVar[str] = "shelf"

    shelf: str

    @property
    def subject_id(self) -> str:
        return self.shelf


class Shelf(State):
    pieces: int = 0
    most: int = 0
    emptied_at: tuple[datetime, ...] = ()


def _moved(shelf: Shelf, event: Moved, _: datetime) -> Shelf:
    pieces = shelf.pieces + event.by
    return shelf.model_copy(update={"pieces": pieces, "most": max(shelf.most, pieces)})


def _emptied(shelf: Shelf, _: Emptied, at: datetime) -> Shelf:
    return shelf.model_copy(update={"pieces": 0, "emptied_at": (*shelf.emptied_at, at)})


SHELF = Fold(name="shelf", start=Shelf(), rules=(when(Moved, _moved), when(Emptied, _emptied)))


def emit(*events: DomainEvent) -> None:
    with transaction.atomic():
        outbox.emit(*events, now=timezone.now())


def shelf(subject: str = "a", fold: Fold[Shelf] = SHELF) -> Reached[Shelf]:
    return state_of(fold, aggregate="shelf", subject=subject)


def keep(subject: str = "a", fold: Fold[Shelf] = SHELF, every: int = 1) -> bool:
    return current(fold, aggregate="shelf", subject=subject, every=every).is_kept


def whole(subject: str) -> Shelf:
    return SHELF.of(Event.objects.filter(subject=subject).order_by("sequence"))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(portions=st.lists(st.tuples(st.lists(st.one_of(st.none(), st.integers(-5, 9)), max_size=6), st.booleans())))
def test_a_fold_from_a_snapshot_is_the_fold_of_all_events(portions: list[tuple[list[int | None], bool]]) -> None:
    subject = str(new_id())
    for moves, kept in portions:
        emit(*(Emptied(shelf=subject) if by is None else Moved(shelf=subject, by=by) for by in moves))
        if kept:
            keep(subject)
        assert shelf(subject).state == whole(subject)
    with_snapshot = shelf(subject)
    Snapshot.objects.all().delete()
    without = shelf(subject)
    assert (with_snapshot.state, with_snapshot.sequence) == (without.state, without.sequence)


def test_what_is_before_a_snapshot_is_not_read() -> None:
    emit(*(Moved(shelf="a", by=by) for by in (3, 4, -2)), Moved(shelf="b", by=9))
    assert keep()
    emit(Moved(shelf="a", by=10))
    with CaptureQueriesContext(connection) as made:
        reached = shelf()
    assert (reached.state.pieces, reached.sequence, reached.read) == (15, 4, 1)
    assert len(made) == 2
    assert shelf("b").read == 1


def test_a_snapshot_is_taken_after_so_many_events_and_not_before() -> None:
    emit(*(Moved(shelf="a", by=1) for _ in range(9)))
    assert not keep(every=10)
    emit(Moved(shelf="a", by=1))
    assert keep(every=10)
    assert not keep(every=10)
    assert not keep("nobody", every=0)
    assert list(Snapshot.objects.values_list("subject", "sequence")) == [("a", 10)]


@pytest.mark.parametrize(
    "changed",
    [
        lambda: replace(SHELF, version=2),
        lambda: replace(SHELF, start=_Painted()),
        lambda: replace(SHELF, rules=(when(_MovedInColour, _moved), *SHELF.rules[1:])),
    ],
    ids=["version", "shape of the state", "version of an event"],
)
def test_a_snapshot_of_a_fold_that_has_changed_is_none(changed: Callable[[], Fold[Shelf]]) -> None:
    emit(*(Moved(shelf="a", by=by) for by in (3, 4)))
    assert keep()
    new = changed()
    assert new.fingerprint != SHELF.fingerprint
    assert shelf(fold=new).read == 2
    assert keep(fold=new)
    assert shelf(fold=new).read == 0
    # Old code beside the new (rolling deploy) reads all, and is right.
    assert (shelf().read, shelf().state.pieces) == (2, 7)


@pytest.mark.parametrize("state", [{}, {"pieces": "many"}, {"colour": "red"}, [], 7])
def test_a_snapshot_that_cannot_be_read_is_none(state: object) -> None:
    emit(Moved(shelf="a", by=3))
    keep()
    Snapshot.objects.update(state=state)
    if state == {}:
        assert shelf().read == 0  # all defaults: what it says is readable
    else:
        assert (shelf().read, shelf().state.pieces) == (1, 3)


def test_a_snapshot_never_goes_back() -> None:
    emit(Moved(shelf="a", by=3))
    keep()
    Snapshot.objects.update(sequence=5)
    emit(*(Moved(shelf="a", by=1) for _ in range(3)))
    assert not keep()
    assert Snapshot.objects.get().sequence == 5


def test_two_that_take_a_snapshot_at_the_same_moment_keep_one() -> None:
    emit(*(Moved(shelf="a", by=1) for _ in range(20)))
    assert sorted(at_once(keep, keep), key=str) == [False, True]
    assert Snapshot.objects.get().sequence == 20
    with pytest.raises(IntegrityError):
        Snapshot.objects.create(fold="shelf", aggregate="shelf", subject="a", fingerprint="", sequence=1, state={})


class _Painted(Shelf):
    colour: str = ""


def _as_it_was(data: Data) -> Data:
    return data


class _MovedInColour(Moved):
    version: ClassVar[int] = 2
    upcasters = {1: _as_it_was}


def test_a_worker_of_the_code_before_still_finds_its_columns() -> None:
    """Migrate, then restart: until then it writes `taken_at` and reads `moved_at`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sagas_snapshot (fold, fingerprint, aggregate, subject, sequence, state, taken_at)"
            " VALUES ('f', '', 'a', 's', 1, '{}', now())"
        )
        cursor.execute("SELECT moved_at FROM sagas_follower")
    assert Snapshot.objects.get().sequence == 1
