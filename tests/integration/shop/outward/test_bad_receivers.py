"""A receiver that answers badly costs its own deliveries some time, and others none."""

import time

import pytest

from sagas.models import Attempt, Delivery
from sagas.testing import MovableClock, drive
from shop import wiring

from .bad_receivers import bad_receiver
from .conftest import Inside, LocalReceiver, Tell, follow, webhook

ERP = "webhook-erp"


@pytest.mark.parametrize(
    ("how", "pause_seconds"), [("drips its body", 0.1), ("never ends its body", 0.0), ("drips its body", 60.0)]
)
def test_a_status_is_an_answer_whatever_becomes_of_the_body(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock, how: str, pause_seconds: float
) -> None:
    with bad_receiver(how, pause_seconds=pause_seconds) as bad:
        follow(wiring.to_webhook(webhook(receiver, url=bad.url, timeout_seconds=5)), clock)
        tell("k", 1)
        began = time.monotonic()
        drive(now=clock)
        assert time.monotonic() - began < 3.0
    assert Delivery.objects.get(subscription=ERP).status == "done"
    assert not Attempt.objects.exists()
    assert bad.calls == 1
    assert bad.sent_bytes < 10_000_000


@pytest.mark.parametrize("how", ["drips its status", "drips its headers", "says Continue for ever", "answers late"])
def test_a_call_has_one_time_limit_however_its_answer_comes(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock, how: str
) -> None:
    pause_seconds = 3.0 if how == "answers late" else 0.1
    with bad_receiver(how, pause_seconds=pause_seconds) as bad:
        follow(wiring.to_webhook(webhook(receiver, url=bad.url, timeout_seconds=0.5)), clock)
        tell("k", 1)
        tell("other", 1)
        began = time.monotonic()
        drive(now=clock)
        assert time.monotonic() - began < 2.5
    assert set(Delivery.objects.filter(subscription=ERP).values_list("status", flat=True)) == {"pending"}
    assert bad.calls == 1


def test_a_time_beyond_all_numbers_is_no_time(
    neighbour: Inside, receiver: LocalReceiver, tell: Tell, clock: MovableClock
) -> None:
    follow(wiring.to_webhook(webhook(receiver)), clock)
    receiver.answers = lambda _: (503, {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"})
    tell("k", 1)
    drive(now=clock)
    assert Attempt.objects.get(delivery__subscription=ERP).error == "ReceiverRefused"
