"""Real workers, a real HTTP server that goes away and comes back: all arrives, once, in order; nobody else waits."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orders.models import Order
from sagas.core import registry
from sagas.db import clock
from sagas.models import Delivery, Event, Follower, Intervention
from sagas.operations import replays
from shop import wiring
from shop.outward.receivers import webhooks
from tests.conftest import Processes, broker, wait_for
from tests.factories.orders import Place
from tests.integration.shop.outward.conftest import LocalReceiver, verify

SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef01234567').decode()}"
#: Those of an order that goes well, in the order in which they happen.
WANTED = ["orders.order_placed", "inventory.stock_reserved", "payments.payment_captured", "orders.order_confirmed"]


@pytest.fixture
def receivers() -> Iterator[dict[str, LocalReceiver]]:
    made = {name: LocalReceiver() for name in ("away", "hangs", "well")}
    for receiver in made.values():
        receiver.come()
    yield made
    for receiver in made.values():
        receiver.leave()


def environment(receivers: dict[str, LocalReceiver]) -> dict[str, Any]:
    hooks = [
        {"name": name, "url": receiver.url, "secret": SECRET, "events": WANTED, "timeout_seconds": 1}
        for name, receiver in receivers.items()
    ]
    lake = {"name": "lake", "key": "tests:lake", "events": WANTED}
    return {"WEBHOOKS": json.dumps(hooks), "STREAMS": json.dumps([lake])}


def seen(receiver: LocalReceiver) -> dict[str, list[str]]:
    """Return the types of what was taken, by order."""
    found: dict[str, list[str]] = {}
    for post in receiver.taken:
        found.setdefault(post.key, []).append(post.event["type"])
    return found


def lake() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with broker() as redis:
        entries: Any = redis.xrange("tests:lake")
    for _, fields in entries:
        found.setdefault(fields[b"key"].decode(), []).append(fields[b"type"].decode())
    return found


@pytest.mark.timeout(240)
def test_receivers_that_are_away_or_hang_get_all_later_and_hold_up_nobody(
    receivers: dict[str, LocalReceiver],
    place: Place,
    processes: Processes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configured = environment(receivers)
    processes.coming_worker("orders,inventory,payments,notifications,sagas", name="steps", **configured)
    processes.coming_worker("relay", name="relay", concurrency=1, **configured)
    outward = processes.worker("outward", name="outward", **configured)
    processes.beat(**configured)
    first = place()
    expected = {str(first.id): WANTED}
    wait_for(lambda: all(seen(receiver) == expected for receiver in receivers.values()) and lake() == expected)

    receivers["away"].leave()
    receivers["hangs"].hangs_seconds = 3.0
    for _ in range(20):
        order = place()
        expected[str(order.id)] = WANTED
        began = time.monotonic()
        wait_for(lambda key=order.id: Order.objects.get(id=key).status == "confirmed")  # type: ignore[misc]
        assert time.monotonic() - began < 10.0
    wait_for(lambda: seen(receivers["well"]) == expected == lake(), seconds=30)
    assert len(receivers["away"].taken) == len(WANTED)
    # A worker dies in the middle of its calls.
    processes.kill(outward)
    processes.worker("outward", name="outward-again", **configured)

    receivers["away"].come()
    receivers["hangs"].hangs_seconds = 0.0
    for name in ("away", "hangs"):
        wait_for(lambda name=name: first_of_each(receivers[name]) == expected, seconds=120)  # type: ignore[misc]
    wait_for(lambda: not Delivery.objects.exclude(status="done").exists(), seconds=60)
    ids = [str(each) for each in Event.objects.filter(type__in=WANTED).values_list("id", flat=True)]
    assert sorted(post.id for post in receivers["away"].taken) == sorted(ids)
    # What they took as the worker died, or took too late, came once more, with the same id.
    assert first_of_each(receivers["well"]) == expected
    for receiver in receivers.values():
        verify(receiver.taken, monkeypatch)
    assert lake() == expected

    replay_one(receivers, expected)


def first_of_each(receiver: LocalReceiver) -> dict[str, list[str]]:
    """As `seen`, by a consumer that leaves out the ids it knows."""
    known: set[str] = set()
    found: dict[str, list[str]] = {}
    for post in receiver.taken:
        if post.id not in known:
            known.add(post.id)
            found.setdefault(post.key, []).append(post.event["type"])
    return found


def replay_one(receivers: dict[str, LocalReceiver], expected: dict[str, list[str]]) -> None:
    """Replay all of it to one of them, whose worker knows it; this process asks by the rows alone."""
    for receiver in receivers.values():
        receiver.taken.clear()
    since = Event.objects.order_by("occurred_at").values_list("occurred_at", flat=True)[0]
    follower = Follower.objects.get(name="webhook-well")
    hooks = webhooks(environment(receivers)["WEBHOOKS"], insecure=False)
    with registry.current().rewired([*registry.subscriptions(), *map(wiring.to_webhook, hooks)]).active():
        batch = replays.ask(follower, since=since, until=clock.now(), reason="lost", by="ada", now=clock.now())
    wait_for(lambda: Intervention.objects.get(batch=batch).status == "done")
    wait_for(lambda: seen(receivers["well"]) == expected, seconds=60)
    assert receivers["away"].taken == receivers["hangs"].taken == []
