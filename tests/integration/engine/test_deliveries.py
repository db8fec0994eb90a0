"""Deliveries: in order per key, tried again, parked, sent again by a person."""

from collections.abc import Callable

import pytest

from sagas.core import registry
from sagas.core.errors import Rejected, Retryable
from sagas.core.retry import Retry
from sagas.core.saga import Failure
from sagas.core.subscription import Received, Subscription
from sagas.engine.deliveries import deliver
from sagas.log import outbox
from sagas.log.relay import relay_events
from sagas.models import Attempt, Delivery, Event
from sagas.testing import MovableClock, drive, run_delivery

from .conftest import Asked, Script, Tell, Told, intervene


def test_deliveries_of_a_key_are_made_in_order(tell: Tell, script: Script, clock: MovableClock) -> None:
    for number in (1, 2, 3):
        tell("k", number)
    owed = [pk for wake_up in relay_events(now=clock(), limit=10).deliveries for pk in wake_up.delivery_ids]
    for pk in reversed(owed):
        deliver(delivery_ids=[pk], clock=clock)
    assert script.did == ["told k 1"]
    drive(now=clock)
    clock.move(minutes=1)
    drive(now=clock)
    assert script.did == ["told k 1", "told k 2", "told k 3"]


def test_the_next_in_line_is_woken_when_the_first_is_done(tell: Tell, script: Script, clock: MovableClock) -> None:
    tell("k", 1)
    tell("k", 2)
    ((first, second),) = (wake_up.delivery_ids for wake_up in relay_events(now=clock(), limit=10).deliveries)
    assert deliver(delivery_ids=[second], clock=clock) == []
    (woken,) = deliver(delivery_ids=[first], clock=clock)
    assert woken.delivery_ids == (second,)


def test_a_failing_reaction_is_tried_again_later(tell: Tell, script: Script, clock: MovableClock) -> None:
    script.says["told k"] = [Retryable("busy")]
    tell("k", 1)
    drive(now=clock)
    assert Delivery.objects.get().status == "pending"
    clock.move(seconds=11)
    drive(now=clock)
    assert script.did == ["told k 1", "told k 1"]
    assert list(Attempt.objects.values_list("delivery_id", "number", "kind")) == [
        (Delivery.objects.get().pk, 1, "retryable")
    ]


@pytest.mark.parametrize("errors", [[Rejected("never")], [ZeroDivisionError(), ZeroDivisionError()]])
def test_what_fails_for_good_parks_and_holds_up_its_own_key_only(
    tell: Tell, script: Script, clock: MovableClock, errors: list[BaseException]
) -> None:
    script.says["told k"] = list(errors)
    tell("k", 1)
    tell("other", 1)
    tell("k", 2)
    for _ in range(3):
        drive(now=clock)
        clock.move(seconds=11)
    assert dict(Delivery.objects.values_list("event__data__number", "status").filter(key="k")) == {
        1: "parked",
        2: "pending",
    }
    assert Delivery.objects.get(key="other").status == "done"
    assert Delivery.objects.get(status="parked").error.startswith(type(errors[-1]).__name__)


def test_a_parked_delivery_is_sent_again_by_hand_and_the_line_moves(
    tell: Tell, script: Script, clock: MovableClock
) -> None:
    script.says["told k"] = [Rejected("not yet")]
    tell("k", 1)
    tell("k", 2)
    drive(now=clock)
    parked = Delivery.objects.get(status="parked")
    (again,) = intervene(parked, "retry", clock).deliveries
    assert again.delivery_ids == (parked.pk,)
    assert intervene(parked, "retry", clock).refused == 1
    (following,) = run_delivery(again, now=clock)
    run_delivery(following, now=clock)
    assert script.did == ["told k 1", "told k 1", "told k 2"]
    assert not Delivery.objects.exclude(status="done").exists()


def test_a_doubled_delivery_message_finds_nothing_to_do(tell: Tell, script: Script, clock: MovableClock) -> None:
    tell("k", 1)
    (wake_up,) = relay_events(now=clock(), limit=10).deliveries
    for _ in range(3):
        run_delivery(wake_up, now=clock)
    assert script.did == ["told k 1"]


# What follows on giving up -------------------------------------------------------------------------------------------


def with_follow_up(react: Callable[..., None], gave_up: Callable[..., None], *, outside: bool = False) -> None:
    registry.register(
        [
            Subscription(
                "tries", event=Told, queue="sagas", react=react, on_give_up=gave_up, outside=outside,
                retry=Retry(attempts=2, base_seconds=10, cap_seconds=10),
            )
        ]
    )  # fmt: skip


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(
    ("error", "kind", "tries"), [(Rejected("no"), "rejected", 1), (Retryable("busy"), "retryable", 2)]
)
def test_what_gives_up_has_something_follow_once_and_holds_up_nobody(
    tell: Tell, clock: MovableClock, error: Exception, kind: str, tries: int, outside: bool
) -> None:
    did: list[str] = []

    def react(received: Received[Told]) -> None:
        did.append(f"try {received.event.number}")
        if received.event.number == 1:
            raise error

    def gave_up(received: Received[Told], failure: Failure) -> None:
        did.append(f"gave up {received.event.number}: {failure.kind}, {failure.message}")

    with_follow_up(react, gave_up, outside=outside)
    tell("k", 1)
    tell("k", 2)
    for _ in range(3):
        drive(now=clock)
        clock.move(seconds=31)
    assert did == ["try 1"] * tries + [f"gave up 1: {kind}, {error}", "try 2"]
    first = Delivery.objects.get(subscription="tries", event__data__number=1)
    assert (first.status, first.finished_at is not None, first.tries.count()) == ("failed", True, tries)
    assert first.error == f"{type(error).__name__}: {error}"


def test_what_follows_is_undone_with_its_events_where_it_fails_and_the_delivery_parked(
    tell: Tell, clock: MovableClock
) -> None:
    def react(_: Received[Told]) -> None:
        raise Rejected("no")

    def gave_up(received: Received[Told], _: Failure) -> None:
        outbox.emit(Asked(name="never"), now=received.now)
        raise ZeroDivisionError("oh")

    with_follow_up(react, gave_up)
    tell("k", 1)
    drive(now=clock)
    parked = Delivery.objects.get(subscription="tries")
    assert (parked.status, parked.error) == ("parked", "Rejected: no; and then ZeroDivisionError: oh")
    assert not Event.objects.filter(key="never").exists()


def test_what_follows_tells_where_it_came_from(tell: Tell, clock: MovableClock) -> None:
    def react(_: Received[Told]) -> None:
        raise Rejected("no")

    def gave_up(received: Received[Told], _: Failure) -> None:
        outbox.emit(Asked(name="k"), now=received.now)

    with_follow_up(react, gave_up)
    cause = tell("k", 1)
    drive(now=clock)
    told = Event.objects.get(type=Asked.type)
    assert (told.causation_id, told.correlation_id) == (cause.id, cause.correlation_id)
