"""The customers: who asks for what, and how a good client asks until it has an answer."""

import http.client
import json
import queue
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

#: SKU → pieces. Of `PLENTY` there is enough for all, of `FEW` for some, of `NONE` for nobody.
PLENTY = {f"PLENTY-{number:02}": 1_000_000 for number in range(1, 25)}
NONE = {"NONE-0": 0, "NONE-3": 3}
PRICE_MINOR = 1250
#: Pays by invoice, with a limit nobody reaches; everybody else has no credit.
CREDIT_CUSTOMER = "credit@example.com"
CREDIT_MINOR = 10**12

CONFIRMED = "confirmed"
#: Ends a request that a frozen process took: another process, or a later moment, will answer it.
TIMEOUT_SECONDS = 4.0
CLIENTS = 48
#: One order in so many is asked for again after its answer, as by a second click.
_ASKED_TWICE = 20


def few(orders: int) -> dict[str, int]:
    """Return the stock that runs out on the way."""
    return {f"FEW-{number}": max(3, orders // 60) for number in range(1, 4)}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One order as its customer asks for it, and what may become of it.

    Attributes:
        outcomes: `confirmed`, or names of the errors it may be rejected for.
    """

    key: str
    email: str
    method: str
    lines: tuple[tuple[str, int], ...]
    outcomes: frozenset[str]

    @property
    def quantities(self) -> dict[str, int]:
        return dict(self.lines)

    def body(self) -> bytes:
        return json.dumps(
            {
                "customer": {"email": self.email, "name": f"Customer {self.key}"},
                "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in self.lines],
                "payment_method": self.method,
            }
        ).encode()


#: Method, how often of a hundred, and what becomes of it when there is stock. `*` = any trouble of the provider's.
_METHODS = (
    ("tok_visa", 70, CONFIRMED),
    ("tok_chargeDeclined", 10, "CardDeclined"),
    ("tok_flaky", 6, CONFIRMED),
    ("tok_lostReply", 6, CONFIRMED),
    ("invoice", 6, CONFIRMED),
    ("tok_down", 2, "*"),
)


def asks(orders: int, seed: int) -> list[Ask]:
    """Return the same orders for the same seed."""
    dice = random.Random(f"orders {seed}")
    return [_ask(dice, number, orders) for number in range(orders)]


def _ask(dice: random.Random, number: int, orders: int) -> Ask:
    (method, _, outcome) = dice.choices(_METHODS, [often for _, often, _ in _METHODS])[0]
    skus = dice.sample(list(PLENTY), dice.choice([1, 1, 2, 3]))
    lines = [(sku, dice.randint(1, 5)) for sku in skus]
    email, outcomes = f"customer-{number}@example.com", {outcome}
    if method == "invoice" and dice.random() < 0.8:
        email = CREDIT_CUSTOMER
    elif method == "invoice":
        outcomes = {"NoCredit"}
    if (luck := dice.random()) < 0.03:
        lines[-1] = dice.choice([("NONE-0", 1), ("NONE-3", 4)])
        outcomes = {"OutOfStock"}
    elif luck < 0.13:
        lines[-1] = (dice.choice(list(few(orders))), 1)
        outcomes.add("OutOfStock")
    return Ask(
        key=f"chaos-{number}", email=email, method=method, lines=tuple(lines), outcomes=frozenset(outcomes)
    )  # fmt: skip


@dataclass
class Answers:
    """What the customers were told; written by many threads, each its own keys."""

    #: Key → id of the order, as answered with 201.
    order_ids: dict[str, str] = field(default_factory=dict)
    #: Key → what came instead of an answer the client understands.
    refused: dict[str, str] = field(default_factory=dict)
    #: How long each customer waited for the answer, tries and all.
    seconds: list[float] = field(default_factory=list)
    #: Requests that were made again.
    tries_again: int = 0
    #: How late the latest request left.
    late_seconds: float = 0.0


class Customers:
    """Asks for orders at a steady rate, each until it is answered."""

    def __init__(self, asked: list[Ask], *, rate: float, port: int, token: str) -> None:
        self.answers = Answers()
        self._rate, self._port, self._token = rate, port, token
        self._waiting: queue.SimpleQueue[tuple[int, Ask]] = queue.SimpleQueue()
        for item in enumerate(asked):
            self._waiting.put(item)
        self._gone = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CLIENTS)]
        self._started_at = 0.0

    def start(self) -> None:
        self._started_at = time.monotonic()
        for thread in self._threads:
            thread.start()

    def are_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def leave(self) -> None:
        """Stop asking, answered or not."""
        self._gone.set()

    def _work(self) -> None:
        while not self._gone.is_set():
            try:
                number, ask = self._waiting.get_nowait()
            except queue.Empty:
                return
            wait = self._started_at + number / self._rate - time.monotonic()
            self.answers.late_seconds = max(self.answers.late_seconds, -wait)
            if wait > 0 and self._gone.wait(wait):
                return
            self._ask_until_answered(ask)
            if number % _ASKED_TWICE == 0:
                self._ask_until_answered(ask)

    def _ask_until_answered(self, ask: Ask) -> None:
        started_at, pause = time.monotonic(), 0.1
        while not self._gone.is_set():
            try:
                status, answer = self._post(ask)
            except (OSError, http.client.HTTPException, ValueError):
                status, answer = 0, {}
            if status == 201:
                told = self.answers.order_ids.setdefault(ask.key, answer["id"])
                if told != answer["id"]:
                    self.answers.refused[ask.key] = f"first order {told}, then order {answer['id']}"
                self.answers.seconds.append(time.monotonic() - started_at)
                return
            if 0 < status < 500:
                self.answers.refused[ask.key] = f"{status} {answer}"
                return
            self.answers.tries_again += 1
            self._gone.wait(pause)
            pause = min(2 * pause, 1.0)

    def _post(self, ask: Ask) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        try:
            headers = {
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "Idempotency-Key": ask.key,
            }
            connection.request("POST", "/api/orders", ask.body(), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()
