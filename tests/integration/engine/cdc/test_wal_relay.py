"""The relay that goes by the write-ahead log."""

from collections.abc import Callable, Iterator

import pytest
from django.db import transaction

from sagas.cdc import wal_relay as wal
from sagas.cdc.capture import Capture
from sagas.core.cause import Cause, caused_by
from sagas.core.registry import Registry
from sagas.log import outbox
from sagas.log.relay import relay_events
from sagas.messaging import tasks
from sagas.models import Delivery, Event, Run
from sagas.testing import MovableClock
from tests.conftest import wait_for
from tests.integration.engine.conftest import Asked, Told, emit

from .conftest import SLOT, confirmed


@pytest.fixture
def no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are looked at here; no worker is to hear of them, and the sweep has its own tests."""
    monkeypatch.setattr(tasks, "send", lambda *_: None)
    monkeypatch.setattr(tasks, "sweep", lambda: None)


@pytest.fixture
def caught_up(saga: object, no_messages: None) -> Iterator[wal.WalRelay]:
    """A relay that has taken all there was, and from now on goes by what it is told."""
    with Capture(wal.slot(SLOT)) as capture:
        following = wal.WalRelay(capture)
        following.work()
        assert not following._behind
        yield following


def work(following: wal.WalRelay, until: Callable[[], object]) -> None:
    def done() -> object:
        following.work()
        return until()

    wait_for(done)


def in_the_log() -> list[str]:
    return list(Event.objects.exclude(log_position=None).order_by("log_position").values_list("key", flat=True))


def test_at_first_it_takes_what_waits(saga: object, no_messages: None, clock: MovableClock) -> None:
    emit(Asked(name="before"), clock)
    with Capture(wal.slot(SLOT)) as capture:
        work(wal.WalRelay(capture), lambda: in_the_log() == ["before"])
    assert Run.objects.count() == 1


def test_what_is_told_is_taken_once_and_confirmed_after_it(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    before = confirmed()
    for name in "abc":
        emit(Asked(name=name), clock)
    work(caught_up, lambda: not caught_up._unplaced and len(in_the_log()) == 3)
    assert in_the_log() == ["a", "b", "c"]
    assert Run.objects.count() == 3
    work(caught_up, lambda: confirmed() > before)


def test_only_what_was_told_is_taken(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox is not asked: an event whose transaction the log keeps back stays where it is."""
    event = emit(Asked(name="a"), clock)
    monkeypatch.setattr(caught_up._capture, "take", lambda _: [])
    for _ in range(3):
        caught_up._turned_at -= 10
        caught_up.work()
    event.refresh_from_db()
    assert event.log_position is None


def test_a_rolled_back_transaction_gives_nothing(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    with transaction.atomic():
        outbox.emit(Asked(name="never"), now=clock())
        transaction.set_rollback(True)
    emit(Asked(name="a"), clock)
    work(caught_up, lambda: in_the_log() == ["a"])
    assert list(Run.objects.values_list("key", flat=True)) == ["a"]


def test_order_per_key_is_kept_across_bulk_and_not_bulk(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    for number, cause in enumerate((Cause(low_priority=True), Cause(), Cause(low_priority=True))):
        with caused_by(cause):
            emit(Told(name="k", number=number), clock)
    with caused_by(Cause(low_priority=True)):
        emit(Told(name="other", number=9), clock)
    work(caught_up, lambda: len(in_the_log()) == 4)
    assert list(Delivery.objects.filter(key="k").order_by("pk").values_list("event__data__number", flat=True)) == [
        0,
        1,
        2,
    ]
    numbers = Event.objects.filter(key="k").order_by("log_position").values_list("data__number", flat=True)
    assert list(numbers) == [0, 1, 2]


def test_what_another_relay_took_is_confirmed_and_not_taken_again(caught_up: wal.WalRelay, clock: MovableClock) -> None:
    emit(Told(name="a"), clock)
    relay_events(now=clock(), limit=10)
    before = confirmed()
    work(caught_up, lambda: confirmed() > before)
    assert not caught_up._unplaced
    assert Delivery.objects.count() == 1


def test_a_relay_at_its_turn_is_waited_for(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(Asked(name="a"), clock)
    before = confirmed()
    with monkeypatch.context() as patch:
        patch.setattr("sagas.log.relay.locks.take_if_free", lambda _: False)
        for _ in range(3):
            caught_up.work()
        assert (in_the_log(), confirmed(), len(caught_up._unplaced)) == ([], before, 1)
    work(caught_up, lambda: in_the_log() == ["a"])


def test_more_than_is_worth_to_remember_is_taken_by_the_index(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "_MAX_UNPLACED", 50)
    with transaction.atomic(), caused_by(Cause(low_priority=True)):
        outbox.emit(*(Asked(name=f"import {number}") for number in range(1200)), now=clock())
    emit(Asked(name="by hand"), clock)
    work(caught_up, lambda: len(in_the_log()) == 1201)
    assert in_the_log().index("by hand") < tasks.turn_limit()
    work(caught_up, lambda: not caught_up._behind)
    before = confirmed()
    emit(Asked(name="after"), clock)
    work(caught_up, lambda: in_the_log()[-1] == "after" and confirmed() > before)
    assert Run.objects.count() == 1202


def test_what_is_sent_again_by_hand_is_found_by_asking_now_and_then(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(Told(name="a"), clock)
    work(caught_up, lambda: in_the_log() == ["a"])
    Event.objects.update(log_position=None)
    caught_up._asked_at -= 60
    work(caught_up, lambda: in_the_log() == ["a"])
    assert Delivery.objects.count() == 1


def test_events_of_a_type_this_process_does_not_know_are_left_and_hold_nothing_up(
    caught_up: wal.WalRelay, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(Told(name="a"), clock)
    Event.objects.update(type="tests.of_the_future")
    before = confirmed()
    work(caught_up, lambda: confirmed() > before)
    assert (in_the_log(), caught_up._unplaced) == ([], {})
    emit(Asked(name="b"), clock)
    work(caught_up, lambda: in_the_log() == ["b"])
    monkeypatch.setattr("sagas.log.relay.known_types", lambda: ["tests.of_the_future", "tests.asked"])
    with Registry().active():
        relay_events(now=clock(), limit=10)
    assert in_the_log() == ["b", "a"]
