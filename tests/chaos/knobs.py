"""What can be turned: arguments, or variables of the same names in capitals."""

import os
import random
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass

#: Shorter than in production, so that what recovery waits for passes in seconds; said in the table's header.
HURRIED = {
    "SAGAS_RESEND_AFTER_SECONDS": "5",
    "SAGAS_LEASE_SECONDS": "8",
    "CELERY_VISIBILITY_TIMEOUT_SECONDS": "15",
    "PAYMENTS_TIMEOUT_SECONDS": "0.3",
}


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """One run of chaos.

    Attributes:
        rate: orders asked for a second.
        fault_every: mean seconds between two faults.
        settle: most seconds between the last answer and the last order's end.
        coordination: of an order, as the shop's setting of that name says.
    """

    orders: int
    rate: float
    fault_every: float
    seed: int
    settle: float
    coordination: str = "saga"

    @property
    def flow_seconds(self) -> float:
        return self.orders / self.rate


def read(arguments: Sequence[str]) -> Knobs:
    parser = ArgumentParser(prog="python -m tests.chaos", description="See docs/chaos.md.")
    parser.add_argument("--quick", action="store_true", help="300 orders, 10 faults: is chaos itself well?")
    for name, what in (
        ("orders", "how many orders are asked for"),
        ("rate", "orders a second"),
        ("fault-every", "mean seconds between two faults"),
        ("settle", "most seconds to wait for the last order"),
        ("seed", "which orders and faults; drawn and printed if not given"),
    ):
        parser.add_argument(f"--{name}", type=float, default=_from_environment(parser, name), help=what)
    parser.add_argument("--coordination", choices=["saga", "choreography"], default="saga", help="of an order")
    given = parser.parse_args(arguments)
    # What two cores of their own should bear, restarts included; docs/chaos.md says what happens above that.
    usual: dict[str, float] = {"orders": 8000, "rate": 20, "fault_every": 4}
    if given.quick:
        usual = {"orders": 300, "rate": 8, "fault_every": 3.4}
    usual |= {"settle": 300, "seed": random.SystemRandom().randrange(1_000_000)}
    chosen = {name: usual[name] if getattr(given, name) is None else getattr(given, name) for name in usual}
    if min(chosen["orders"], chosen["rate"], chosen["fault_every"]) <= 0:
        parser.error("orders, rate and fault-every must be more than nothing")
    return Knobs(
        orders=int(chosen["orders"]),
        rate=chosen["rate"],
        fault_every=chosen["fault_every"],
        seed=int(chosen["seed"]),
        settle=chosen["settle"],
        coordination=given.coordination,
    )


def _from_environment(parser: ArgumentParser, name: str) -> float | None:
    name = name.upper().replace("-", "_")
    text = os.environ.get(name, "")
    try:
        return float(text) if text else None
    except ValueError:
        parser.error(f"{name}={text} is not a number")
