"""How long an order placed by hand takes while a burst of imported ones is under way."""

import time
from collections.abc import Sequence
from pathlib import Path

from sagas.core.cause import Cause, caused_by

from . import ground, judging
from .contenders import Ours
from .ground import Placed
from .results import Measured, p50_and_p99

#: Between two orders by hand.
_EVERY_SECONDS = 0.2
_WARM_UP = 50


def measure(logs: Path, *, orders: int, seed: str) -> list[Measured]:
    """Give the shop a burst of imported orders, and place orders by hand until the burst's last message is sent."""
    shop = Ours(logs)
    try:
        shop.start()
        _finish(shop, ground.place(ground.requests(_WARM_UP, seed=f"{seed}, warm-up")))
        return _measure(shop, orders, seed)
    finally:
        shop.stop()


def _measure(shop: Ours, orders: int, seed: str) -> list[Measured]:
    before = ground.mark()
    ground.settle()
    with caused_by(Cause(low_priority=True)):
        burst = ground.place(ground.requests(orders, seed=seed))
    last = burst[-1]["order_id"]
    by_hand: list[Placed] = []
    asked_at: dict[str, float] = {}
    while last not in ground.told_at([last]):
        order, moment = shop.place_one(f"{seed}, by hand {len(by_hand)}")
        by_hand.append(order)
        asked_at[order["order_id"]] = moment
        time.sleep(_EVERY_SECONDS)
        for process in shop.processes:
            process.check()
    placed = [*burst, *by_hand]
    _finish(shop, placed)
    judging.judge("the shop, beside an import", placed, before, with_journal=True)
    confirmed_at = ground.confirmed_at(asked_at)
    took = [confirmed_at[key] - moment for key, moment in asked_at.items()]
    return [Measured(what="latency", who="beside-import", figures=p50_and_p99(took, "placed to confirmed"))]


def _finish(shop: Ours, placed: Sequence[Placed]) -> None:
    shop.wait(placed)
    shop.finish(placed)
