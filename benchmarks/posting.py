"""The time until the answer to POST: of the shop's API, and of its twin that does all steps first."""

from pathlib import Path

from . import ground, judging, processes
from .apps import PEER
from .contenders import Ours
from .results import Book, Measured, p50_and_p99
from .web import OURS, SYNCHRONOUS, Web, ask

#: Requests a second: well below what either side can bear, so that no queue is measured; and not in step with beat.
RATE = 4.7
_CLIENTS = 4
_WARM_UP = 20


def ours(book: Book, logs: Path, *, orders: int, seed: str) -> list[Measured]:
    """Measure the API while worker, relay and beat carry on what was placed."""
    shop = Ours(logs)
    try:
        shop.start()
        web = Web(logs)
        shop.processes.append(web.process)
        measured = _measure("post", web, OURS, orders=orders, seed=seed, shop=shop)
        book.remember("ours, with web", shop.peak_memory())
    finally:
        shop.stop()
    return measured


def synchronous(book: Book, logs: Path, *, orders: int, seed: str) -> list[Measured]:
    """Measure the view that answers when all is done; it needs the web process only."""
    web = Web(logs, **{PEER: "synchronous"})
    try:
        measured = _measure("post-synchronous", web, SYNCHRONOUS, orders=orders, seed=seed, shop=None)
        book.remember("synchronous web", web.process.peak_memory())
    finally:
        processes.kill([web.process])
    return measured


def _measure(who: str, web: Web, path: str, *, orders: int, seed: str, shop: Ours | None) -> list[Measured]:
    _ask(web, path, _WARM_UP, f"{seed}, warm-up", shop)
    before = ground.mark()
    ground.settle()
    keys, seconds = _ask(web, path, orders, seed, shop)
    judging.judge(who, ground.read(keys), before, with_journal=shop is not None)
    return [Measured(what="latency", who=who, figures=p50_and_p99(seconds, "POST answered"))]


def _ask(web: Web, path: str, orders: int, seed: str, shop: Ours | None) -> tuple[list[str], list[float]]:
    keys, seconds = ask(web.port, path, ground.requests(orders, seed=seed), clients=_CLIENTS, rate=RATE)
    if shop is not None:
        placed = ground.read(keys)
        shop.wait(placed)
        shop.finish(placed)
    return keys, seconds
