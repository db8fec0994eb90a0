"""A range of the log is owed to one subscription once more: in order, once, whoever dies, and to nobody else."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.core import registry
from sagas.core.ids import new_id
from sagas.core.retry import Retry
from sagas.core.subscription import Received, StartAt, Subscription
from sagas.log import followers
from sagas.messaging import tasks
from sagas.models import Delivery, Follower, Intervention
from sagas.operations import replays, subjects
from sagas.operations.subject import NotNow
from sagas.testing import MovableClock, drive

from .conftest import Script, Tell, Told, intervene


class Partner:
    """A reaction outside."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.keys: list[str] = []
        self.says: dict[tuple[str, int], Exception] = {}

    def react(self, received: Received[Told]) -> None:
        if error := self.says.get((received.event.name, received.event.number)):
            raise error
        self.told.append((received.event.name, received.event.number))
        self.keys.append(received.idempotency_key)

    def of(self, key: str) -> list[int]:
        return [number for name, number in self.told if name == key]


@pytest.fixture
def partner(saga: object, clock: MovableClock) -> Partner:
    partner = Partner()
    subscribe(partner, clock)
    return partner


def subscribe(partner: Partner, clock: MovableClock, name: str = "partner", start_at: StartAt = StartAt.NOW) -> None:
    outside = Subscription(
        name, event=Told, queue="sagas", react=partner.react, outside=True, start_at=start_at, retry=Retry(attempts=1)
    )
    registry.register([outside])
    followers.create_missing(now=clock())


def ask(clock: MovableClock, since: datetime, until: datetime | None = None, name: str = "partner") -> Intervention:
    batch = replays.ask(
        Follower.objects.get(name=name),
        since=since,
        until=until or clock(),
        reason="they lost a day",
        by="ada",
        now=clock(),
    )
    return Intervention.objects.get(batch=batch)


def replay(clock: MovableClock, since: datetime, until: datetime | None = None, name: str = "partner") -> Intervention:
    """Ask, and work until it is through."""
    asked = ask(clock, since, until, name)
    while asked.status == "pending":
        work(clock)
        asked.refresh_from_db()
    return asked


def work(clock: MovableClock) -> replays.Replayed:
    """Owe a portion, and have it made."""
    replayed = replays.work(now=clock())
    clock.move(seconds=3)  # its messages are lost: the sweep sends others
    drive(now=clock)
    return replayed


def test_a_range_is_made_again_in_order_and_by_nobody_else(
    tell: Tell, partner: Partner, script: Script, clock: MovableClock
) -> None:
    moments = []
    for number in range(12):
        moments.append(clock())
        tell(f"k{number % 2}", number)
        clock.move(minutes=1)
    drive(now=clock)
    clock.move(minutes=1)
    told, did = len(partner.told), len(script.did)
    asked = replay(clock, moments[2], moments[9])
    by_number = sorted(partner.told[told:], key=lambda each: each[1])
    assert by_number == [(f"k{number % 2}", number) for number in range(2, 9)]
    assert partner.of("k0")[6:] == [2, 4, 6, 8]
    assert partner.of("k1")[6:] == [3, 5, 7]
    assert len(script.did) == did
    assert (asked.outcome, asked.by, asked.reason, asked.applied_to) == (
        "7 of 7 events are owed once more.", "ada", "they lost a day", "partner",
    )  # fmt: skip
    assert set(Delivery.objects.filter(subscription="partner").values_list("replays", "low_priority", "status")) == {
        (0, False, "done"),
        (1, True, "done"),
    }


def test_the_try_of_a_replay_has_a_key_of_its_own(tell: Tell, partner: Partner, clock: MovableClock) -> None:
    event = tell("k", 1)
    drive(now=clock)
    clock.move(seconds=1)
    replay(clock, event.occurred_at)
    assert partner.keys == [f"{event.id}:partner", f"{event.id}:partner:1"]


def test_what_it_never_got_is_owed_too(tell: Tell, partner: Partner, clock: MovableClock) -> None:
    since = clock()
    for number in range(3):
        tell("k", number)
    drive(now=clock)
    late = Partner()
    subscribe(late, clock, "late")
    clock.move(minutes=1)
    replay(clock, since, name="late")
    assert late.told == [("k", 0), ("k", 1), ("k", 2)]


def test_what_waits_is_parked_or_left_out_stays_as_it_is(tell: Tell, partner: Partner, clock: MovableClock) -> None:
    since = clock()
    partner.says["bad", 1] = ZeroDivisionError()
    partner.says["left", 1] = ZeroDivisionError()
    for key, number in (("bad", 0), ("bad", 1), ("bad", 2), ("left", 1), ("left", 2)):
        tell(key, number)
    drive(now=clock)
    intervene(Delivery.objects.get(subscription="partner", status="parked", key="left"), "skip", clock)
    clock.move(minutes=1)
    drive(now=clock)
    clock.move(minutes=1)
    asked = replay(clock, since)
    assert partner.told == [("bad", 0), ("left", 2), ("bad", 0), ("left", 2)]
    assert asked.outcome == "2 of 5 events are owed once more; 3 were not done yet, or left out by hand."


def test_what_comes_meanwhile_stands_behind_all_that_is_replayed_of_its_key(
    tell: Tell, partner: Partner, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "PORTION", 2)
    since = clock()
    for number in range(10):
        tell("k", number)
    drive(now=clock)
    clock.move(minutes=1)
    ask(clock, since)
    replays.work(now=clock())
    tell("k", 10)
    clock.move(seconds=3)
    drive(now=clock)
    assert partner.of("k")[10:] == list(range(11))


def test_killed_in_the_middle_it_goes_on_where_it_stood(
    tell: Tell, partner: Partner, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "PORTION", 3)
    since = clock()
    for number in range(10):
        tell(f"k{number}", number)
    drive(now=clock)
    clock.move(minutes=1)
    asked = ask(clock, since)
    first = replays.work(now=clock())
    with monkeypatch.context() as dying:
        dying.setattr(replays, "heads_of", _die)
        with pytest.raises(KeyboardInterrupt):
            replays.work(now=clock())
    asked.refresh_from_db()
    assert (first.events, replays.terms_of(asked)["progressed"]) == (3, 3)
    assert Delivery.objects.filter(subscription="partner", replays=1).count() == 3
    while asked.status == "pending":
        clock.move(seconds=1)
        tasks.work_on_interventions()  # as the sweep does
        clock.move(seconds=3)
        drive(now=clock)
        asked.refresh_from_db()
    assert sorted(number for _, number in partner.told[10:]) == list(range(10))
    assert asked.outcome == "10 of 10 events are owed once more."


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_asked_twice_it_is_made_once(tell: Tell, partner: Partner, clock: MovableClock) -> None:
    since = clock()
    tell("k", 1)
    drive(now=clock)
    clock.move(minutes=1)
    follower, batch = Follower.objects.get(name="partner"), new_id()
    for _ in range(2):
        replays.ask(follower, since=since, until=clock(), reason="twice", by="ada", now=clock(), batch=batch)
    with pytest.raises(NotNow, match="A replay to partner is under way"):
        ask(clock, since)
    assert Intervention.objects.count() == 1
    work(clock)
    work(clock)
    assert partner.told == [("k", 1)] * 2


def test_who_has_enough_to_do_is_owed_no_more_and_holds_up_no_other_replay(
    tell: Tell, partner: Partner, clock: MovableClock, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(replays, "PORTION", 2)
    settings.SAGAS_RELAY_LIMIT = 2
    other = Partner()
    subscribe(other, clock, "other")
    since = clock()
    for number in range(6):
        tell(f"k{number}", number)
    drive(now=clock)
    clock.move(minutes=1)
    for name in ("partner", "other"):
        ask(clock, since, name=name)
    intervene(Follower.objects.get(name="partner"), "pause", clock)
    for _ in range(12):
        work(clock)
    assert (len(partner.told), len(other.told)) == (6, 12)
    assert Delivery.objects.filter(subscription="partner", status="pending").count() == 2
    intervene(Follower.objects.get(name="partner"), "resume", clock)
    clock.move(minutes=1)
    for _ in range(6):
        work(clock)
    assert len(partner.told) == 12
    assert not Intervention.objects.filter(status="pending").exists()


def test_what_is_not_owed_to_it_yet_is_left_to_the_log(tell: Tell, partner: Partner, clock: MovableClock) -> None:
    since = clock()
    tell("k", 1)
    drive(now=clock)
    intervene(Follower.objects.get(name="partner"), "pause", clock)
    tell("k", 2)
    drive(now=clock)
    clock.move(minutes=1)
    asked = ask(clock, since)
    assert replays.progress(asked).total == 1
    intervene(Follower.objects.get(name="partner"), "resume", clock)
    work(clock)
    assert partner.told == [("k", 1), ("k", 1), ("k", 2)]


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        (timedelta(hours=-1), timedelta(hours=-2), "before it begins"),
        (timedelta(hours=-1), timedelta(hours=-1), "before it begins"),
        (timedelta(hours=-1), timedelta(hours=1), "ends in the future"),
        (timedelta(hours=-2), timedelta(hours=-1), "There is no event for partner"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    tell: Tell, partner: Partner, clock: MovableClock, since: timedelta, until: timedelta, said: str
) -> None:
    tell("k", 1)
    drive(now=clock)
    with pytest.raises(NotNow, match=said):
        ask(clock, clock() + since, clock() + until)
    assert not Intervention.objects.exists()


def test_moments_without_a_time_zone_or_sense_are_refused(tell: Tell, partner: Partner, clock: MovableClock) -> None:
    with pytest.raises(NotNow, match="without a time zone"):
        ask(clock, clock().replace(tzinfo=None) - timedelta(hours=1))
    with pytest.raises(NotNow, match=r"--since has no time zone: '2026-01-31T14:00'\. Write 2026-01-31T14:00Z for UTC"):
        replays.moment_from("2026-01-31T14:00", "--since")
    with pytest.raises(NotNow, match="--until is no moment: 'yesterday'"):
        replays.moment_from("yesterday", "--until")
    assert replays.moment_from("2026-01-31T14:00+02:00", "--since").isoformat() == "2026-01-31T14:00:00+02:00"


def test_what_starts_runs_cannot_be_replayed(tell: Tell, partner: Partner, clock: MovableClock) -> None:
    drive(now=clock)
    follower = Follower.objects.get(name="start-test")
    with pytest.raises(NotNow, match="it starts runs, one an event"):
        ask(clock, clock() - timedelta(hours=1), name="start-test")
    assert subjects.possible(follower, now=clock()) == ["pause"]


def test_a_portion_costs_as_many_statements_for_many_as_for_one(
    tell: Tell, partner: Partner, clock: MovableClock
) -> None:
    since = clock()
    costs = []
    for count in (1, 100):
        for number in range(count):
            tell(f"k{number}", number)
        drive(now=clock)
        clock.move(minutes=1)
        ask(clock, since)
        with CaptureQueriesContext(connection) as made:
            replays.work(now=clock())
        costs.append(len(made))
        drive(now=clock)
        since = clock()
    assert costs[0] == costs[1] <= 10
