"""How many orders a second go through the whole flow."""

import time

from . import ground, judging
from .contenders import Contender
from .results import Measured

#: Through the whole flow before the clock starts: connections, imports and caches are warm.
WARM_UP = 50


def measure(contender: Contender, *, orders: int, seed: str) -> list[Measured]:
    """Time a running contender from the moment it is let loose to the commit of the last row that counts."""
    before = ground.mark()
    contender.pause()
    placed = ground.place(ground.requests(orders, seed=seed))
    contender.give(placed)
    ground.settle()
    computed, began_at = contender.cpu_seconds(), time.time()
    contender.let_loose()
    contender.wait(placed)
    keys = [order["order_id"] for order in placed]
    seconds = max(*ground.confirmed_at(keys).values(), *ground.told_at(keys).values()) - began_at
    contender.finish(placed)
    computed = contender.cpu_seconds() - computed
    judging.judge(contender.title, placed, before, with_journal=contender.with_journal)
    figures = {"orders a second": orders / seconds, "CPU an order (ms)": computed / orders * 1000}
    return [Measured(what="throughput", who=contender.name, figures=figures)]
