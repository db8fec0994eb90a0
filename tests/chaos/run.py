"""One run of chaos, from the empty folder to the verdict."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from rich.console import Console

from inventory import services as inventory
from orders import services as orders
from orders.models import Order
from payments import credit
from sagas.cli.progress_bar import progress
from shop.celery import app

from . import asking, facts, verdict
from .faults import Trouble, schedule
from .knobs import HURRIED, Knobs
from .recovery import recoveries
from .supervising import Supervisor
from .table import Report, show

_READY_SECONDS = 60.0


class Run:
    """Owns every process it starts; all of them are gone when `run` returns or raises."""

    def __init__(self, knobs: Knobs, folder: Path) -> None:
        self.knobs = knobs
        self.mails = folder / "mail"
        self.console = Console(width=None if sys.stdout.isatty() else 120)
        self.asked = asking.asks(knobs.orders, knobs.seed)
        self.stock = asking.PLENTY | asking.NONE | asking.few(knobs.orders)
        self.supervisor = Supervisor(folder / "log")
        self.trouble = Trouble(
            self.supervisor,
            schedule(seed=knobs.seed, mean_seconds=knobs.fault_every, until_seconds=knobs.flow_seconds),
        )
        self.customers = asking.Customers(
            self.asked, rate=knobs.rate, port=int(os.environ["PORT"]), token=settings.API_TOKEN
        )

    def run(self) -> int:
        """Return the exit code: 1 on any breach."""
        self.console.print(
            f"Chaos: {self.knobs.orders} orders at {self.knobs.rate:g} a second, {len(self.trouble.faults)} faults, "
            f"SEED={self.knobs.seed}; logs and data in {self.mails.parent}",
            soft_wrap=True,
        )
        self._fill_the_shop()
        try:
            self.supervisor.start()
            self._wait_until_ready()
            flow_seconds, settle_seconds = self._make_trouble()
            self.trouble.end()
            report = self._judge(flow_seconds, settle_seconds)
        finally:
            # A second Ctrl-C must not leave half of it running.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            self.customers.leave()
            self.trouble.end()
            self.supervisor.kill_all()
        show(report, self.console)
        return 1 if report.breaches else 0

    def _fill_the_shop(self) -> None:
        call_command("migrate", verbosity=0)
        orders.add_products(((sku, sku, asking.PRICE_MINOR) for sku in self.stock), currency=settings.CURRENCY)
        inventory.receive(self.stock)
        credit.open_credit(
            customer_email=asking.CREDIT_CUSTOMER, limit_minor=asking.CREDIT_MINOR, currency=settings.CURRENCY
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while len(app.control.ping(timeout=0.5) or []) < 2:
            if time.monotonic() > deadline:
                raise SystemExit(f"chaos: the workers do not answer; see {self.mails.parent / 'log'}")

    def _make_trouble(self) -> tuple[float, float]:
        """Return how long orders were asked for, and how long the last took to end after that; seconds."""
        started_at = time.monotonic()
        self.customers.start()
        self.trouble.start()
        with progress("Chaos", self.knobs.orders, self.console.print) as tell:
            while not (self.customers.are_done() and self.trouble.is_over()):
                self._tell(tell)
                time.sleep(0.5)
                if self.trouble.error is not None:
                    raise self.trouble.error
            asked_at = time.monotonic()
            while not self._is_quiet() and time.monotonic() - asked_at < self.knobs.settle:
                self._tell(tell)
                time.sleep(0.5)
            self._tell(tell)
        return asked_at - started_at, time.monotonic() - asked_at

    def _tell(self, tell: Callable[[int, str], None]) -> None:
        ended = facts.steadily(lambda: Order.objects.exclude(status="pending").count())
        answered, done = len(self.customers.answers.order_ids), self.trouble.done()
        tell(ended, f"{answered} taken, {ended} ended, {len(done)} faults{f', {done[-1].kind.name}' if done else ''}")

    def _is_quiet(self) -> bool:
        return facts.steadily(lambda: not facts.anything_left())

    def _judge(self, flow_seconds: float, settle_seconds: float) -> Report:
        standing = facts.steadily(lambda: facts.read(self.mails))
        done = self.trouble.done()
        return Report(
            knobs=self.knobs,
            settings=", ".join(f"{name.lower()} {os.environ[name]}" for name in HURRIED),
            faults=len(done),
            flow_seconds=flow_seconds,
            settle_seconds=settle_seconds,
            statuses=Counter(order.status for order in standing.orders),
            answers=self.customers.answers,
            findings=verdict.judge(asked=self.asked, answers=self.customers.answers, facts=standing, stock=self.stock),
            recovered=recoveries(done, self.asked),
            processes=list(self.supervisor.supervised.values()),
        )
