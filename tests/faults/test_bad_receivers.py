"""Real workers, one receiver that answers badly, one that answers well, whose events come as if it were alone."""

import base64
import json
import time
from typing import Any

import pytest

from sagas.models import Delivery, Event, Follower
from tests.conftest import Processes, wait_for
from tests.factories.orders import Place
from tests.integration.shop.outward.bad_receivers import bad_receiver
from tests.integration.shop.outward.conftest import LocalReceiver, Post

SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef01234567').decode()}"
WANTED = "orders.order_placed"
ORDERS, PAUSE_SECONDS = 25, 0.1


class Arrivals(LocalReceiver):
    """Notes when each event came."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, float] = {}
        self.answers = self._note

    def _note(self, post: Post) -> int:
        self.at.setdefault(post.id, time.monotonic())
        return 204


@pytest.mark.parametrize("how", ["drips its headers", "drips its body", "answers late"])
def test_a_receiver_that_answers_badly_delays_no_other(place: Place, processes: Processes, how: str) -> None:
    good = Arrivals()
    good.come()
    with bad_receiver(how, pause_seconds=3.0 if how == "answers late" else 0.5) as bad:
        configured: dict[str, Any] = {
            "WEBHOOKS": json.dumps(
                [
                    {"name": name, "url": url, "secret": SECRET, "events": [WANTED], "timeout_seconds": 4}
                    for name, url in (("good", good.url), ("bad", bad.url))
                ]
            )
        }
        processes.coming_worker("relay", name="relay", concurrency=1, **configured)
        processes.worker("outward", name="outward", prefetch=1, **configured)
        processes.beat(**configured)
        wait_for(lambda: Follower.objects.filter(name__startswith="webhook-").count() == 2)
        alone = delays(place, good, paused="webhook-bad")
        beside = delays(place, good)
        assert bad.calls >= 1
    good.leave()
    assert beside < alone + 0.5
    assert not Delivery.objects.filter(subscription="webhook-good").exclude(status="done").exists()


def delays(place: Place, good: Arrivals, *, paused: str = "") -> float:
    """Place orders at a steady rate; return the longest time from the commit of one to its arrival."""
    Follower.objects.filter(name=paused).update(paused_at="2026-01-01T00:00Z")
    placed: dict[str, float] = {}
    for _ in range(ORDERS):
        order = place()
        placed[str(Event.objects.get(key=str(order.id)).id)] = time.monotonic()
        time.sleep(PAUSE_SECONDS)
    wait_for(lambda: placed.keys() <= good.at.keys(), seconds=120)
    Follower.objects.filter(name=paused).update(paused_at=None)
    return max(good.at[each] - placed[each] for each in placed)
