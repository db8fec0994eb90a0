"""How long one order takes from being asked for to being confirmed, with nothing else to do."""

import time
from functools import partial

from . import ground, judging
from .contenders import Contender
from .processes import wait_for
from .results import Measured, p50_and_p99

#: Between the end of one order and the next: whoever has something left to write has written it by then.
_REST_SECONDS = 0.02
#: How often it is asked whether an order is done; what is measured is when it was committed, not when it was seen.
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
