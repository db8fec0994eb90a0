"""Events are saved with what they tell of, and become runs and deliveries once and in order."""

from dataclasses import replace
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from sagas.core.cause import Cause, caused_by
from sagas.core.errors import Retryable, TransactionRequiredError
from sagas.core.registry import Registry
from sagas.core.saga import Saga
from sagas.core.subscription import starts
from sagas.log import outbox
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Run, StepRun
from sagas.testing import MovableClock, drive, run_delivery

from .conftest import Ask, Asked, Script, Tell, Told, emit, intervene, standing

CORRELATION = UUID("01890000-0000-7000-8000-000000000001")


def test_an_event_needs_the_transaction_that_makes_it_true(saga: object, clock: MovableClock) -> None:
    with pytest.raises(TransactionRequiredError):
        outbox.emit(Asked(name="k"), now=clock())
    assert not Event.objects.exists()


def test_a_rolled_back_change_publishes_nothing(saga: object, clock: MovableClock) -> None:
    with transaction.atomic():
        outbox.emit(Asked(name="k"), now=clock())
        transaction.set_rollback(True)
    assert not Event.objects.exists()


def test_an_event_carries_where_it_came_from(saga: object, clock: MovableClock) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with caused_by(Cause(correlation_id=CORRELATION, traceparent=traceparent)):
        event = emit(Asked(name="k"), clock)
    event.refresh_from_db()
    assert (event.correlation_id, event.traceparent, event.causation_id) == (CORRELATION, traceparent, None)
    drive(now=clock)
    run = Run.objects.get()
    assert (run.correlation_id, run.traceparent, run.event_id) == (CORRELATION, traceparent, event.id)


def test_events_of_one_subject_are_numbered_without_gaps(saga: object, clock: MovableClock) -> None:
    with transaction.atomic():
        outbox.emit(Told(name="a", number=1), Told(name="b", number=1), Told(name="a", number=2), now=clock())
    emit(Told(name="a", number=3), clock)
    assert list(Event.objects.filter(subject="a").order_by("position").values_list("sequence", flat=True)) == [1, 2, 3]
    assert list(Event.objects.filter(subject="b").values_list("sequence", flat=True)) == [1]


def test_two_events_cannot_share_a_number(saga: object, clock: MovableClock) -> None:
    event = emit(Told(name="a"), clock)
    event.pk, event.id = None, UUID(int=7)
    with pytest.raises(IntegrityError, match="sagas_event_one_per_sequence"):
        event.save(force_insert=True)


def test_the_relay_takes_events_in_order_and_no_more_than_it_may(ask: Ask, clock: MovableClock) -> None:
    for key in "abcde":
        ask(key)
    assert relay_events(now=clock(), limit=2).events == 2
    assert list(Run.objects.order_by("id").values_list("key", flat=True)) == ["a", "b"]
    assert relay_events(now=clock(), limit=10).events == 3
    assert relay_events(now=clock(), limit=10).events == 0


def test_relaying_costs_the_same_statements_for_one_event_and_for_many(
    ask: Ask, tell: Tell, clock: MovableClock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    relay_events(now=clock(), limit=500)  # has the subscriptions of this test begin
    for count in (1, 50):
        for number in range(count):
            ask(f"{count}-{number}")
            tell(f"{count}", number)
        with django_assert_num_queries(13):
            relay_events(now=clock(), limit=500)


def test_a_second_relay_finds_the_lock_taken_and_goes(ask: Ask, clock: MovableClock) -> None:
    ask()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [0x72656C61])
            assert relay_events(now=clock(), limit=10).events == 0
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    assert relay_events(now=clock(), limit=10).events == 1


def test_an_event_relayed_twice_starts_one_run_and_owes_one_delivery(
    ask: Ask, tell: Tell, script: Script, clock: MovableClock
) -> None:
    ask()
    tell("k", 1)
    drive(now=clock)
    Event.objects.update(log_position=None)
    drive(now=clock)
    assert script.did == ["first k", "far k", "pivot k", "last k", "told k 1"]
    assert (Run.objects.count(), Delivery.objects.count()) == (1, 1)


def test_an_event_whose_key_is_busy_starts_its_run_when_the_other_has_ended(
    ask: Ask, script: Script, clock: MovableClock
) -> None:
    script.says["last"] = [Retryable("busy")]
    for _ in range(3):
        ask()
        relay_events(now=clock(), limit=10)
    assert Run.objects.count() == 1
    assert list(Delivery.objects.values_list("status", flat=True)) == ["pending", "pending"]
    for _ in range(9):
        drive(now=clock)
        assert Run.objects.filter(finished_at=None).count() <= 1
        clock.move(minutes=15)
    assert list(Run.objects.values_list("status", flat=True)) == ["completed"] * 3
    assert list(Run.objects.order_by("id").values_list("event_id", flat=True)) == list(
        Event.objects.order_by("position").values_list("id", flat=True)
    )


def test_the_whole_plan_is_written_when_the_run_starts(ask: Ask, clock: MovableClock) -> None:
    ask()
    relay_events(now=clock(), limit=10)
    assert list(StepRun.objects.order_by("place").values_list("place", "name", "status", "next_place")) == [
        (0, "first", "pending", 1),
        (1, "far", "pending", 2),
        (2, "pivot", "pending", 3),
        (3, "last", "pending", None),
    ]


def test_an_unreadable_event_parks_alone_and_can_be_sent_again(ask: Ask, script: Script, clock: MovableClock) -> None:
    ask("good")
    bad = ask("bad")
    Event.objects.filter(pk=bad.pk).update(data={"name": None})
    ask("better")
    drive(now=clock)
    assert set(Run.objects.values_list("key", flat=True)) == {"good", "better"}
    parked = Delivery.objects.get()
    assert (parked.status, parked.subscription, parked.event_id) == ("parked", "start-test", bad.pk)
    assert "ValidationError" in parked.error
    Event.objects.filter(pk=bad.pk).update(data={"name": "bad"})
    for wake_up in intervene(parked, "retry", clock).deliveries:
        run_delivery(wake_up, now=clock)
    clock.move(minutes=1)
    drive(now=clock)
    assert standing("bad")[0] == "completed"


def test_an_event_nobody_reacts_to_is_in_the_log_too(saga: object, clock: MovableClock) -> None:
    class Unheard(Asked):
        type = "tests.unheard"

    event = emit(Unheard(name="k"), clock)
    drive(now=clock)
    event.refresh_from_db()
    assert (event.relayed_at, event.log_position) == (clock(), 1)


def test_what_an_event_says_is_read_and_judged_once_when_its_run_starts(
    saga: Saga[Asked], script: Script, clock: MovableClock
) -> None:
    judged: list[str] = []

    def wanted(asked: Asked) -> bool:
        judged.append(asked.name)
        return True

    first, *rest = saga.steps
    with Registry([starts(replace(saga, steps=(replace(first, when=wanted), *rest)))]).active():
        emit(Asked(name="a"), clock)
        emit(Asked(name="b"), clock)
        assert relay_events(now=clock(), limit=10).events == 2
    assert judged == ["a", "b"]
    assert Run.objects.count() == 2
