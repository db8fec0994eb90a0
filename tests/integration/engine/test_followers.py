"""Subscriptions follow the log: from now, from the beginning, paused, unknown for a while; nothing is missed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from sagas.core import registry
from sagas.core.cause import Cause, caused_by
from sagas.core.statuses import Action
from sagas.core.subscription import Received, StartAt, Subscription
from sagas.engine.deliveries import deliver
from sagas.log import followers, outbox
from sagas.log.relay import Relayed, relay_events
from sagas.models import Delivery, Event, Follower, Intervention, Run
from sagas.operations import interventions, queries
from sagas.operations.subject import NotNow
from sagas.testing import MovableClock, drive
from tests.factories.journal import FollowerFactory

from .conftest import Ask, Asked, Script, Tell, Told, emit, intervene


class Analytics:
    """A reaction that comes later than the events."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def react(self, received: Received[Told]) -> None:
        self.told.append((received.event.name, received.event.number))

    def of(self, key: str) -> list[int]:
        return [number for name, number in self.told if name == key]


@pytest.fixture
def analytics() -> Analytics:
    return Analytics()


def subscribe(analytics: Analytics, start_at: StartAt) -> None:
    registry.register(
        [Subscription("analytics", event=Told, queue="analytics", react=analytics.react, start_at=start_at)]
    )


def turn(clock: MovableClock, limit: int = 500) -> Relayed:
    return relay_events(now=clock(), limit=limit)


def all_told(count: int) -> bool:
    return Delivery.objects.filter(subscription="analytics", status="done").count() == count


def position(name: str = "analytics") -> int:
    return Follower.objects.get(name=name).position


@contextmanager
def code_without(name: str) -> Iterator[None]:
    """Be a process of older code, which does not have this subscription yet."""
    known = [one for one in registry.subscriptions() if one.name != name]
    with registry.current().rewired(known).active():
        yield


# From now, or from the beginning -------------------------------------------------------------------------------------


def test_a_new_subscription_gets_what_comes_from_now_on(tell: Tell, analytics: Analytics, clock: MovableClock) -> None:
    tell("k", 1)
    drive(now=clock)
    subscribe(analytics, StartAt.NOW)
    followers.create_missing(now=clock())
    tell("k", 2)
    drive(now=clock)
    assert analytics.told == [("k", 2)]


def test_a_new_subscription_gets_all_there_ever_was_in_order_while_events_flow(
    tell: Tell, analytics: Analytics, script: Script, clock: MovableClock
) -> None:
    for number in range(20):
        tell(f"k{number % 3}", number)
    drive(now=clock)
    subscribe(analytics, StartAt.BEGINNING)
    followers.create_missing(now=clock())
    assert position() == 0
    for number in range(20, 26):
        tell(f"k{number % 3}", number)
        turn(clock, limit=6)
    while not all_told(26):
        clock.move(minutes=1)
        drive(now=clock)
    assert {key: analytics.of(key) for key in ("k0", "k1", "k2")} == {
        f"k{place}": list(range(place, 26, 3)) for place in range(3)
    }
    assert position() == followers.head() == 26
    # Those that were there already noticed nothing.
    assert len(script.did) == 26


def test_what_is_caught_up_yields_to_what_somebody_waits_for(
    tell: Tell, analytics: Analytics, clock: MovableClock
) -> None:
    tell("k", 1)
    drive(now=clock)
    subscribe(analytics, StartAt.BEGINNING)
    tell("k", 2)
    owed = turn(clock).deliveries
    assert [(wake_up.task, wake_up.low_priority) for wake_up in owed] == [
        ("analytics.analytics", True),
        ("sagas.inside", False),
        ("analytics.analytics", False),
    ]
    assert list(
        Delivery.objects.filter(subscription="analytics").order_by("pk").values_list("low_priority", flat=True)
    ) == [
        True,
        False,
    ]


def test_who_has_enough_to_do_is_owed_no_more(tell: Tell, analytics: Analytics, clock: MovableClock) -> None:
    for number in range(10):
        tell(f"k{number}", number)
    drive(now=clock)
    subscribe(analytics, StartAt.BEGINNING)
    assert turn(clock, limit=4).more
    assert not turn(clock, limit=4).more
    assert (Delivery.objects.filter(subscription="analytics").count(), position()) == (4, 4)
    for delivery in Delivery.objects.filter(subscription="analytics"):
        deliver(delivery_ids=[delivery.pk], clock=clock)
    turn(clock, limit=4)
    assert position() == 8


def test_a_saga_that_begins_with_the_log_starts_a_run_for_each_event(
    saga: object, script: Script, clock: MovableClock
) -> None:
    for name in ("a", "b"):
        emit(Asked(name=name), clock)
    with code_without("start-test"):
        drive(now=clock)
    assert not Run.objects.exists()
    FollowerFactory.create(name="start-test")
    drive(now=clock)
    assert set(Run.objects.values_list("key", "status")) == {("a", "completed"), ("b", "completed")}


# Deploys -------------------------------------------------------------------------------------------------------------


def test_what_a_relay_of_older_code_took_is_owed_by_the_one_that_follows(
    tell: Tell, analytics: Analytics, clock: MovableClock
) -> None:
    subscribe(analytics, StartAt.NOW)
    followers.create_missing(now=clock())  # as `migrate` does, before a process of the new code writes an event
    tell("k", 1)
    with code_without("analytics"):
        turn(clock)
    assert position() == 0
    drive(now=clock)
    assert analytics.told == [("k", 1)]


def test_what_code_before_the_log_had_an_order_has_relayed_is_taken_once_more(
    ask: Ask, tell: Tell, script: Script, clock: MovableClock
) -> None:
    ask()
    tell("k", 1)
    drive(now=clock)
    did = list(script.did)
    Event.objects.update(log_position=None)
    drive(now=clock)
    assert script.did == did
    assert not Event.objects.filter(log_position=None).exists()


def test_a_transaction_that_commits_late_is_not_passed_over(
    tell: Tell, analytics: Analytics, clock: MovableClock
) -> None:
    """The event with the lower position becomes visible after the one with the higher is in the log."""
    subscribe(analytics, StartAt.NOW)
    early = connection.copy()
    try:
        with early.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "INSERT INTO sagas_event (id, type, version, aggregate, subject, sequence, key, data, correlation_id,"
                " traceparent, occurred_at) VALUES (gen_random_uuid(), 'tests.told', 1, 'test', 'early', 1, 'early',"
                ' \'{"name": "early", "number": 1}\', gen_random_uuid(), \'\', now())'
            )
            tell("late", 2)
            drive(now=clock)
            assert analytics.told == [("late", 2)]
            cursor.execute("COMMIT")
    finally:
        early.close()
    drive(now=clock)
    assert analytics.told == [("late", 2), ("early", 1)]
    assert list(Event.objects.order_by("log_position").values_list("key", flat=True)) == ["late", "early"]
    assert list(Event.objects.order_by("position").values_list("key", flat=True)) == ["early", "late"]


# Paused and resumed --------------------------------------------------------------------------------------------------


def test_a_paused_subscription_does_nothing_and_catches_up_in_order_when_it_is_resumed(
    tell: Tell, analytics: Analytics, script: Script, clock: MovableClock
) -> None:
    subscribe(analytics, StartAt.NOW)
    tell("k", 1)
    (owed,) = [wake_up for wake_up in turn(clock).deliveries if wake_up.queue == "analytics"]
    assert intervene(Follower.objects.get(name="analytics"), "pause", clock).done == 1
    for number in (2, 3):
        tell("k", number)
    deliver(delivery_ids=owed.delivery_ids, clock=clock)
    clock.move(hours=1)
    drive(now=clock)
    assert analytics.told == []
    assert script.did == ["told k 1", "told k 2", "told k 3"]
    assert Delivery.objects.filter(subscription="analytics").count() == 1
    (lag,) = [lag for lag in queries.followers(now=clock()) if lag.name == "analytics"]
    assert (lag.status, lag.events, lag.waiting, lag.parked, lag.seconds) == ("paused", 2, 1, 0, 3600)

    assert intervene(Follower.objects.get(name="analytics"), "resume", clock).done == 1
    drive(now=clock)
    assert analytics.told == [("k", 1), ("k", 2), ("k", 3)]
    (lag,) = [lag for lag in queries.followers(now=clock()) if lag.name == "analytics"]
    assert (lag.status, lag.events, lag.waiting, lag.seconds) == ("following", 0, 0, 0)


def test_who_pauses_says_why_and_the_second_of_two_clicks_is_refused(tell: Tell, clock: MovableClock) -> None:
    turn(clock)
    follower = Follower.objects.get(name="inside")
    with pytest.raises(NotNow, match="reason"):
        interventions.ask([follower], Action.PAUSE, reason=" ", by="ada", now=clock())
    assert intervene(follower, "pause", clock).done == 1
    assert intervene(follower, "pause", clock, version_token="following").refused == 1
    kept = Intervention.objects.filter(subject_id="inside").order_by("pk").values_list("by", "reason", "status")
    assert list(kept) == [("ada", "somebody must", "done"), ("ada", "somebody must", "refused")]


def test_what_one_is_behind_is_left_out_when_somebody_says_so(
    tell: Tell, analytics: Analytics, clock: MovableClock
) -> None:
    tell("k", 1)
    drive(now=clock)
    subscribe(analytics, StartAt.BEGINNING)
    followers.create_missing(now=clock())
    assert intervene(Follower.objects.get(name="analytics"), "skip", clock).done == 1
    assert position() == followers.head() == 1
    tell("k", 2)
    drive(now=clock)
    assert analytics.told == [("k", 2)]


def test_what_no_code_knows_can_be_left_out_and_what_starts_runs_cannot(ask: Ask, clock: MovableClock) -> None:
    ask()
    turn(clock)
    gone = FollowerFactory.create(name="gone")
    assert intervene(gone, "skip", clock).done == 1
    assert position("gone") == 1
    assert intervene(Follower.objects.get(name="start-test"), "skip", clock).refused == 1


def test_a_saga_can_be_kept_from_starting(ask: Ask, clock: MovableClock) -> None:
    turn(clock)
    intervene(Follower.objects.get(name="start-test"), "pause", clock)
    ask()
    drive(now=clock)
    assert not Run.objects.exists()
    intervene(Follower.objects.get(name="start-test"), "resume", clock)
    drive(now=clock)
    assert Run.objects.get().status == "completed"


# Looking -------------------------------------------------------------------------------------------------------------


def test_how_far_everybody_is_costs_the_same_for_one_and_for_many(
    tell: Tell, clock: MovableClock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        tell("k", number)
    turn(clock)
    with django_assert_num_queries(4):
        queries.followers(now=clock())
    registry.register(
        Subscription(f"more-{number}", event=Told, queue="sagas", react=_nothing, start_at=StartAt.BEGINNING)
        for number in range(10)
    )
    followers.create_missing(now=clock())
    with django_assert_num_queries(4):
        found = queries.followers(now=clock())
    assert {lag.name: lag.events for lag in found} == {
        "start-test": 0,
        "inside": 0,
        **{f"more-{number}": 5 for number in range(10)},
    }


def test_a_follower_no_code_knows_is_named_so(tell: Tell, clock: MovableClock) -> None:
    tell("k", 1)
    turn(clock)
    FollowerFactory.create(name="gone")
    (lag,) = [lag for lag in queries.followers(now=clock()) if lag.name == "gone"]
    assert (lag.status, lag.events) == ("unknown", 1)


def test_positions_have_no_gaps_and_keep_the_order_of_a_transaction(saga: object, clock: MovableClock) -> None:
    with transaction.atomic(), caused_by(Cause()):
        outbox.emit(*(Told(name="k", number=number) for number in range(5)), now=clock())
    while turn(clock, limit=2).events:
        pass
    assert list(Event.objects.order_by("log_position").values_list("log_position", "data__number")) == [
        (number + 1, number) for number in range(5)
    ]


def _nothing(_: Any) -> None:
    pass


# Several types -------------------------------------------------------------------------------------------------------


def test_a_subscription_to_several_types_gets_them_in_the_order_of_their_key(saga: object, clock: MovableClock) -> None:
    got: list[str] = []

    def note(received: Received[Any]) -> None:
        got.append(f"{type(received.event).__name__} {received.event.name} {received.stored.log_position}")

    registry.register([Subscription("both", event=(Told, Asked), queue="sagas", react=note)])
    for event in (Asked(name="k"), Told(name="k"), Asked(name="j"), Told(name="k")):
        emit(event, clock)
    with code_without("start-test"):
        drive(now=clock)
    assert got == ["Asked k 1", "Asked j 3", "Told k 2", "Told k 4"]
