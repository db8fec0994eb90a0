"""Orders placed a second: over HTTP, and from a file. They are not processed meanwhile."""

import csv
import io
import time
from pathlib import Path

from django.core.management import call_command

from shop.importing.reading import COLUMNS

from . import ground, judging, processes
from .results import Book, Measured
from .web import OURS, Web, ask

CLIENTS = 8
_WARM_UP = 50
_PER_ORDER = {"orders_order": 1, "orders_orderline": ground.LINES, "sagas_event": 1}


def over_http(book: Book, logs: Path, *, orders: int, seed: str) -> list[Measured]:
    """Let several clients send the next request as soon as the last is answered."""
    web = Web(logs)
    try:
        ask(web.port, OURS, ground.requests(_WARM_UP, seed=f"{seed}, warm-up"), clients=CLIENTS)
        before = ground.mark()
        ground.settle()
        began_at = time.monotonic()
        ask(web.port, OURS, ground.requests(orders, seed=seed), clients=CLIENTS)
        seconds = time.monotonic() - began_at
        book.remember("web alone", web.process.peak_memory())
    finally:
        processes.kill([web.process])
    judging.judge_rows("POST /api/orders", orders, before, _PER_ORDER)
    return [Measured(what="placing", who="api", figures={"orders a second": orders / seconds})]


def from_file(folder: Path, *, orders: int, seed: str) -> list[Measured]:
    """Import a file of invoices with as many lines as the other orders have."""
    file = folder / "invoices.csv"
    _write(file, orders, seed)
    before = ground.mark()
    ground.settle()
    began_at = time.monotonic()
    call_command("import_orders", str(file), stdout=io.StringIO())
    seconds = time.monotonic() - began_at
    judging.judge_rows("import_orders", orders, before, _PER_ORDER)
    return [Measured(what="placing", who="import", figures={"orders a second": orders / seconds})]


def _write(file: Path, orders: int, seed: str) -> None:
    with file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(COLUMNS)
        for number, asked in enumerate(ground.requests(orders, seed=seed)):
            for line in asked.lines:
                writer.writerow(
                    [f"{seed.replace(' ', '-')}-{number}", line.sku, f"Product {line.sku}", line.quantity,
                     "12-01-2010 08:26", "12.50", 10_000 + number, "United Kingdom"]
                )  # fmt: skip
