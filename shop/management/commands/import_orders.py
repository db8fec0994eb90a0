"""`manage.py import_orders FILE`: invoices from a CSV file become orders; refused lines go to a second file."""

import time
from argparse import ArgumentParser
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from payments import selectors as payments
from sagas.cli.progress_bar import progress
from sagas.core.cause import Cause, caused_by
from sagas.core.ids import new_id
from sagas.db import clock
from shop.importing import placing, waiting
from shop.importing.reading import COLUMNS, InvoiceFile, Reject
from shop.importing.records import UnreadableFile
from shop.importing.rejects import RejectFile, open_rejects
from shop.importing.waiting import Tally


@dataclass
class _Done:
    """The progress of an import."""

    order_ids: list[UUID] = field(default_factory=list)
    new: int = 0
    lines: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Command(BaseCommand):
    help = (
        "Place the invoices of a CSV file as orders, with the products and the stock they need. "
        "Safe to repeat and to interrupt: an invoice is placed once. The good lines of an invoice are placed without "
        "its bad ones; those go to FILE.rejects.csv, each with its line number and the reason. Correct them in FILE or "
        "in a copy of that, and import it: what was refused becomes one more order."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help=f"CSV with the columns {', '.join(COLUMNS)}")
        parser.add_argument("--payment-method", default="tok_visa", help="how the orders are paid (tok_visa)")
        parser.add_argument("--rejects", type=Path, help="where refused lines go, instead of beside FILE")
        parser.add_argument("--wait", action="store_true", help="wait until the last order is decided")

    def handle(self, *_: Any, file: Path, payment_method: str, rejects: Path | None, wait: bool, **__: Any) -> None:
        if payment_method not in payments.methods():
            raise CommandError(f"{payment_method!r} is not a way to pay; one of {', '.join(payments.methods())}.")
        started = time.monotonic()
        try:
            with InvoiceFile(file) as invoices, open_rejects(invoices, rejects) as refused:
                if invoices.csv.encoding == "cp1252":
                    self.stdout.write(f"{file} is not UTF-8: it is read as Windows-1252.")
                if rejects is None and refused.path.parent != file.parent:
                    self.stdout.write(f"{file.parent} cannot be written: refused lines go to ./{refused.path}")
                done = self._import(invoices, payment_method, refused)
        except UnreadableFile as unreadable:
            raise CommandError(str(unreadable)) from None
        self._report_import(done, invoices, refused.path, time.monotonic() - started)
        tally = self._wait(done.order_ids) if wait else waiting.tally(done.order_ids)
        self._report_orders(tally, done.new, time.monotonic() - started, waited=wait)

    def _import(self, file: InvoiceFile, payment_method: str, refused: RejectFile) -> _Done:
        done = _Done()
        # An import is one cause: all its effects share a correlation id, and have low priority against orders placed by
        # hand.
        with (
            caused_by(Cause(correlation_id=new_id(), low_priority=True)),
            progress("Placing", file.csv.size, self.stdout.write) as show,
        ):
            for invoices, rejects in placing.batches(file):
                placed = placing.place(invoices, payment_method=payment_method, now=clock.now())
                for item in (*rejects, *placed):
                    if isinstance(item, Reject):
                        refused.write(item)
                        done.refused[item.kind] += 1
                    else:
                        done.order_ids.append(item.order_id)
                        done.new += item.is_new
                        done.lines += item.lines
                show(file.csv.position, f"{len(done.order_ids)} orders")
        return done

    def _wait(self, order_ids: list[UUID]) -> Tally:
        with progress("Waiting", len(order_ids), self.stdout.write) as show:
            for tally in waiting.wait(order_ids):
                show(tally.decided, f"{tally.under_way} under way")
        return tally

    def _report_import(self, done: _Done, file: InvoiceFile, rejects: Path, seconds: float) -> None:
        rate, standing = done.new / seconds, len(done.order_ids) - done.new
        self.stdout.write(
            f"{file.lines} lines read in {seconds:.1f} s: {done.new} orders placed ({rate:.0f} a second), "
            f"{standing} stood already."
        )
        self.stdout.write(f"{done.lines} lines are in these orders, {file.blank} are blank.")
        self.stdout.write(f"{done.refused.total()} lines refused: {rejects}")
        for kind, count in done.refused.most_common():
            self.stdout.write(f"{count:6} {kind}")

    def _report_orders(self, tally: Tally, new: int, seconds: float, *, waited: bool) -> None:
        statuses = [f"{count} {status}" for status, count in sorted(tally.by_status.items())]
        self.stdout.write(f"Orders: {', '.join(statuses) or 'none'}.")
        if tally.needing_attention:
            self.stdout.write(f"{tally.needing_attention} of them need a person: see the admin.")
        if not waited:
            return
        if tally.under_way:
            raise CommandError(
                f"gave up waiting: {tally.under_way} orders are under way and nothing moved for "
                f"{waiting.GIVE_UP_AFTER_SECONDS:.0f} s. Do a worker and beat run (celery -A shop worker, celery -A "
                "shop beat)? No order is lost; the same command waits on."
            )
        rate = f", {new / seconds:.0f} orders a second from file to decision" if new else ""
        self.stdout.write(f"All decided after {seconds:.1f} s{rate}.")
