"""The time of one order from its request to its confirmation, on a shop at rest."""

import time
from functools import partial

from . import ground, judging
from .contenders import Contender
from .processes import wait_for
from .results import Measured, p50_and_p99

#: Pause between two orders: by then all processes have written everything.
_REST_SECONDS = 0.02
#: Pause between two checks whether an order is done; the commit time is measured, not the time of the check.
_LOOK_SECONDS = 0.005


def measure(contender: Contender, *, orders: int, seed: str) -> list[Measured]:
    before = ground.mark()
    ground.settle()
    placed, asked_at = [], {}
    for number in range(orders):
        order, moment = contender.place_one(f"{seed}, order {number}")
        key = order["order_id"]
        placed.append(order)
        asked_at[key] = moment
        wait_for(partial(ground.are_told, [key]), processes=contender.processes, every_seconds=_LOOK_SECONDS)
        time.sleep(_REST_SECONDS)
    contender.finish(placed)
    judging.judge(contender.title, placed, before, with_journal=contender.with_journal)
    confirmed_at = ground.confirmed_at(asked_at)
    figures = p50_and_p99([confirmed_at[key] - asked for key, asked in asked_at.items()], "placed to confirmed")
    measured = [Measured(what="latency", who=contender.name, figures=figures)]
    if contender.with_journal:
        to_first_step = p50_and_p99(ground.first_step_after(asked_at).values(), "commit to first step")
        measured.append(Measured(what="relay", who=contender.name, figures=to_first_step))
    return measured
