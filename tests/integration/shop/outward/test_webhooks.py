"""Events leave as signed webhooks: once each, in order per key, whatever the receiver does meanwhile."""

import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat

from sagas.core.retry import Retry
from sagas.core.statuses import Action
from sagas.engine.deliveries import deliver
from sagas.log import cloudevents
from sagas.log.relay import relay_events
from sagas.models import Attempt, Delivery, Event, Follower
from sagas.operations import queries
from sagas.operations.interventions import ask, work
from sagas.testing import MovableClock, drive
from shop import wiring
from shop.outward import receivers
from tests.conftest import Redefine

from .conftest import SECRET, Inside, LocalReceiver, Post, Tell, event_ids, follow, verify, webhook

ERP = "webhook-erp"


def statuses(name: str = ERP) -> set[str]:
    return set(Delivery.objects.filter(subscription=name).values_list("status", flat=True))


def drive_for(clock: MovableClock, **time: float) -> None:
    """Drive through a time in steps of a minute."""
    until = clock() + timedelta(**time)
    while clock() < until:
        clock.move(minutes=1)
        drive(now=clock)


def last_error() -> str:
    return Delivery.objects.filter(subscription=ERP).latest("pk").error


# What is sent ---------------------------------------------------------------------------------------------------------


def test_an_event_arrives_signed_in_its_envelope(
    erp: LocalReceiver, tell: Tell, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell("Zoë", 1)
    drive(now=clock)
    (post,) = erp.taken
    stored = Event.objects.get()
    assert post.event == cloudevents.envelope(stored)
    assert post.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert post.headers["webhook-id"] == str(stored.id)
    assert post.headers["webhook-timestamp"] == str(int(clock().timestamp()))
    verify([post], monkeypatch)


def test_who_wants_pings_hears_that_something_happened_and_where_to_ask(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(wiring.to_webhook(webhook(receiver, pings=True)), clock)
    order_id = "01a2133d-0634-7601-8156-ed54c8ee7b63"
    tell(order_id, 1)
    drive(now=clock)
    (post,) = receiver.taken
    stored = Event.objects.get()
    assert post.event == {
        "specversion": "1.0",
        "id": str(stored.id),
        "source": "/tests",
        "type": "tests.outward_told",
        "subject": f"outward/{order_id}",
        "time": stored.occurred_at.isoformat(),
        "sequence": "1",
        "partitionkey": order_id,
        "correlationid": str(stored.correlation_id),
        "dataref": f"/api/orders/{order_id}",
    }
    read = JSONFormat().read(None, post.body)
    assert (read.get_id(), read.get_extension("dataref")) == (str(stored.id), f"/api/orders/{order_id}")
    verify([post], monkeypatch)


def test_while_secrets_change_each_of_them_verifies(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(wiring.to_webhook(webhook(receiver, secret=[f"whsec_{'QUFB' * 12}", SECRET])), clock)
    tell("k", 1)
    drive(now=clock)
    assert receiver.taken[0].headers["webhook-signature"].count("v1,") == 2
    verify(receiver.taken, monkeypatch)


def test_many_share_a_connection_and_come_in_order_of_their_key(
    erp: LocalReceiver, tell: Tell, clock: MovableClock
) -> None:
    for number in range(20):
        tell(f"k{number % 4}", number)
    drive(now=clock)
    assert erp.all_numbers() == {f"k{place}": list(range(place, 20, 4)) for place in range(4)}
    assert erp.connections == 1


def test_a_doubled_delivery_carries_the_same_id(erp: LocalReceiver, tell: Tell, clock: MovableClock) -> None:
    """The worker died between the answer and its note of it."""
    tell("k", 1)
    relay_events(now=clock(), limit=10)
    (pk,) = Delivery.objects.filter(subscription=ERP).values_list("pk", flat=True)
    deliver(delivery_ids=[pk], clock=clock)
    Delivery.objects.filter(pk=pk).update(status="running", due_at=clock(), finished_at=None)
    drive(now=clock)
    assert [post.id for post in erp.taken] == [str(Event.objects.get().id)] * 2


# What is answered -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_taken(erp: LocalReceiver, tell: Tell, clock: MovableClock, status: int) -> None:
    erp.answers = lambda _: status
    tell("k", 1)
    drive(now=clock)
    assert statuses() == {"done"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (500, "answered 500: what it says"),
        (404, "answered 404: what it says"),
        (401, "answered 401: what it says"),
        ((302, {"Location": "/elsewhere"}), "answered 302: redirects are not followed; name the place it leads to"),
    ],
)
def test_all_others_are_tried_again(
    erp: LocalReceiver, tell: Tell, clock: MovableClock, answer: Any, said: str, longest_pauses: None
) -> None:
    erp.answers = lambda _: answer
    tell("k", 1)
    drive(now=clock)
    assert statuses() == {"pending"}
    assert last_error().startswith("ReceiverRefused: 127.0.0.1:")
    assert last_error().endswith(said)
    assert len(erp.posts) == 1
    erp.answers = lambda _: 204
    clock.move(seconds=3)
    drive(now=clock)
    assert statuses() == {"done"}


def test_who_is_gone_is_not_asked_again(erp: LocalReceiver, tell: Tell, clock: MovableClock) -> None:
    erp.answers = lambda _: 410
    tell("k", 1)
    drive_for(clock, minutes=3)
    assert statuses() == {"parked"}
    assert "says that it is gone (410 Gone)" in last_error()
    assert len(erp.posts) == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_who_asks_for_time_gets_it(
    erp: LocalReceiver, tell: Tell, clock: MovableClock, status: int, as_date: bool
) -> None:
    asked = format_datetime(clock() + timedelta(seconds=600), usegmt=True) if as_date else "600"
    erp.answers = lambda _: (status, {"Retry-After": asked})
    tell("k", 1)
    drive(now=clock)
    tries = Attempt.objects.get()
    assert tries.retry_at is not None
    assert 598 <= (tries.retry_at - tries.failed_at).total_seconds() <= 600
    clock.move(minutes=9)
    drive(now=clock)
    assert len(erp.posts) == 1
    erp.answers = lambda _: 204
    clock.move(minutes=2)
    drive(now=clock)
    assert statuses() == {"done"}


def test_who_asked_for_time_is_not_asked_for_the_rest_of_a_batch(
    erp: LocalReceiver, tell: Tell, clock: MovableClock
) -> None:
    erp.answers = lambda _: (429, {"Retry-After": "30"})
    for number in range(20):
        tell(f"k{number}", number)
    drive(now=clock)
    assert len(erp.posts) == 1
    erp.answers = lambda _: 204
    drive_for(clock, minutes=10)
    assert len(erp.taken) == 20


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/token-1234", "127.0.0.1:1 takes no connection: Connection refused"),
        ("https://nowhere.invalid/token-1234", "the name nowhere.invalid leads nowhere (DNS)"),
    ],
)
def test_who_cannot_be_reached_is_told_in_words_without_the_path(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock, url: str, said: str
) -> None:
    follow(wiring.to_webhook(webhook(receiver, url=url)), clock)
    tell("k", 1)
    drive(now=clock)
    assert last_error() == f"ReceiverAway: {said}"
    assert "token-1234" not in "".join(Attempt.objects.values_list("traceback", flat=True))


def test_tls_that_fails_is_told_in_words(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock
) -> None:
    follow(wiring.to_webhook(webhook(receiver, url=receiver.url.replace("http:", "https:"), timeout_seconds=2)), clock)
    tell("k", 1)
    drive(now=clock)
    assert "ReceiverAway: no TLS with 127.0.0.1:" in last_error()


def test_who_hangs_is_given_up_after_its_time_and_left_alone_for_a_while(
    erp: LocalReceiver, tell: Tell, clock: MovableClock
) -> None:
    erp.hangs_seconds = 1.0
    for number in range(30):
        tell(f"k{number}", number)
    began = time.monotonic()
    drive(now=clock)
    assert time.monotonic() - began < 15.0  # each of the thirty alone would be waited for a second
    assert len(erp.posts) == 1
    errors = Attempt.objects.values_list("message", flat=True)
    # Those behind it in its batch have its outcome.
    assert {error.partition(" ")[2] for error in errors} == {"gave no answer within 0.3 s"}
    erp.hangs_seconds = 0.0
    drive_for(clock, minutes=10)
    assert erp.all_numbers().keys() >= {f"k{number}" for number in range(30)}
    assert statuses() == {"done"}


def test_no_secret_is_written_down_anywhere(
    erp: LocalReceiver, tell: Tell, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    erp.answers = lambda _: 500
    tell("k", 1)
    drive_for(clock, minutes=2)
    erp.leave()
    drive_for(clock, minutes=5)
    written = [str(row) for model in (Attempt, Delivery, Event, Follower) for row in model.objects.values()]
    written += [caplog.text, repr(webhook(erp)), repr(wiring.to_webhook(webhook(erp)))]
    assert Attempt.objects.count() > 2
    assert [text for text in written if SECRET.removeprefix("whsec_") in text or "0123456789abcdef" in text] == []


# Away, broken, paused -------------------------------------------------------------------------------------------------


def test_a_receiver_that_is_away_for_an_hour_gets_all_once_in_order_and_nobody_else_waits(
    erp: LocalReceiver,
    neighbour: Inside,
    receiver_named: Callable[[], LocalReceiver],
    tell: Tell,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = receiver_named()
    follow(wiring.to_webhook(webhook(other, "bank")), clock)
    tell("k0", 0)
    drive(now=clock)
    erp.leave()
    came = 1
    for minute in range(60):
        if minute % 3 == 0:
            tell(f"k{came % 5}", came)
            came += 1
        clock.move(minutes=1)
        drive(now=clock)
        assert len(neighbour.told) == len(other.taken) == came
    assert len(erp.taken) == 1
    (lag,) = [lag for lag in queries.followers(now=clock()) if lag.name == ERP]
    assert (lag.waiting, lag.parked) == (20, 0)
    assert lag.seconds > 3000

    erp.come()
    came_at = int(clock().timestamp())
    drive_for(clock, minutes=35)
    assert erp.all_numbers() == {f"k{place}": list(range(place, 21, 5)) for place in range(5)}
    assert sorted(post.id for post in erp.taken) == sorted(event_ids())
    assert statuses() == statuses("webhook-bank") == {"done"}
    assert all(int(post.headers["webhook-timestamp"]) >= came_at for post in erp.taken[1:])
    verify(erp.taken, monkeypatch)


def test_one_that_is_away_for_long_falls_behind_in_the_log_instead_of_piling_up_deliveries(
    erp: LocalReceiver,
    neighbour: Inside,
    tell: Tell,
    clock: MovableClock,
    redefine: Redefine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redefine(ERP, max_open_deliveries=10)
    erp.leave()
    for number in range(60):
        tell(f"k{number % 3}", number)
        drive(now=clock)
        clock.move(minutes=1)
    assert len(neighbour.told) == 60
    assert Delivery.objects.filter(subscription=ERP).count() == 10
    (lag,) = [lag for lag in queries.followers(now=clock()) if lag.name == ERP]
    assert (lag.status, lag.events, lag.waiting) == ("catching up", 50, 10)
    erp.come()
    drive_for(clock, minutes=35)
    tell("k0", 60)
    drive(now=clock)
    assert erp.all_numbers() == {f"k{place}": list(range(place, 61 if place == 0 else 60, 3)) for place in range(3)}
    assert [lag.status for lag in queries.followers(now=clock()) if lag.name == ERP] == ["following"]


def test_its_tries_last_for_a_day() -> None:
    retry = receivers.RETRY
    mean_seconds = sum(min(retry.cap_seconds, retry.base_seconds * 2 ** (n - 1)) / 2 for n in range(1, retry.attempts))
    assert 22 < mean_seconds / 3600 < 26


def test_a_key_the_receiver_chokes_on_parks_and_the_others_go_on(
    erp: LocalReceiver, tell: Tell, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "allows", lambda self, made: made < 5)
    erp.answers = lambda post: 500 if post.event["data"] == {"name": "bad", "number": 2} else 204
    for number in (1, 2, 3):
        for key in ("bad", "good", "fine"):
            tell(key, number)
    drive_for(clock, minutes=5)
    assert erp.all_numbers() == {"bad": [1], "fine": [1, 2, 3], "good": [1, 2, 3]}
    assert dict(Delivery.objects.filter(subscription=ERP, key="bad").values_list("event__data__number", "status")) == {
        1: "done",
        2: "parked",
        3: "pending",
    }
    erp.answers = lambda _: 204
    parked = Delivery.objects.get(subscription=ERP, status="parked")
    ask([parked], Action.RETRY, reason="they mended it", by="ada", now=clock())
    work(now=clock())
    drive_for(clock, minutes=1)
    assert erp.numbers("bad") == [1, 2, 3]


def test_a_paused_receiver_is_not_called_and_catches_up_in_order(
    erp: LocalReceiver, tell: Tell, clock: MovableClock
) -> None:
    tell("k", 1)
    drive(now=clock)
    for action in (Action.PAUSE, Action.RESUME):
        ask([Follower.objects.get(name=ERP)], action, reason="they move", by="ada", now=clock())
        work(now=clock())
        tell("k", *range(2, 10) if action == Action.PAUSE else [10])
        drive(now=clock)
        if action == Action.PAUSE:
            assert erp.numbers("k") == [1]
    drive_for(clock, minutes=2)
    assert erp.numbers("k") == list(range(1, 11))


def test_one_that_begins_with_the_log_gets_all_there_ever_was(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock
) -> None:
    tell("k", 1, 2, 3)
    drive(now=clock)
    follow(wiring.to_webhook(webhook(receiver, start_at="beginning")), clock)
    drive_for(clock, minutes=1)
    assert receiver.numbers("k") == [1, 2, 3]


def test_an_answer_that_is_long_is_cut_off_and_taken(erp: LocalReceiver, tell: Tell, clock: MovableClock) -> None:
    def long(_: Post) -> tuple[int, dict[str, str]]:
        return 200, {"Content-Length": str(10_000_000)}

    erp.answers = long
    tell("k", 1)
    tell("k", 2)
    drive_for(clock, minutes=2)
    assert erp.numbers("k") == [1, 2]
    assert not Attempt.objects.exists()


def test_an_answer_that_breaks_off_behind_its_2xx_is_taken(erp: LocalReceiver, tell: Tell, clock: MovableClock) -> None:
    erp.answers = lambda _: (200, {"Content-Length": "1000"})
    tell("k", 1)
    drive(now=clock)
    assert statuses() == {"done"}
