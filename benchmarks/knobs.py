"""The options of a run."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: The parts of a run; (b), (c) and (g) of the docs belong to `throughput`, memory to all.
PARTS = {
    "a": "throughput, end to end, with peers and floors",
    "d": "latency of one order, and of POST /api/orders",
    "e": "the relay",
    "f": "placing orders",
    "p": "pages, of the admin and of the API",
    "t": "how the relay learns of events: woken by each commit, or by the write-ahead log",
}


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """One run of the benchmarks.

    Attributes:
        latency_orders: how often the usual pages are asked for, too.
        contenders: those measured; empty for all.
        stored: orders of history for a second pass; 0 for none.
    """

    orders: int
    rounds: int
    parts: frozenset[str]
    contenders: frozenset[str]
    latency_orders: int
    relay_events: int
    placing_orders: int
    stored: int
    stored_events: int
    picture: Path | None
    markdown: Path | None
    docs: Path | None
    resume: bool


def read(arguments: Sequence[str]) -> Knobs:
    parser = ArgumentParser(prog="python -m benchmarks", description="See docs/benchmarks.md.")
    _add(parser)
    given = parser.parse_args(arguments)
    usual = {"orders": 1000, "rounds": 5, "latency_orders": 200, "relay_events": 10_000, "placing_orders": 2000}
    if given.quick:
        usual = {"orders": 100, "rounds": 1, "latency_orders": 20, "relay_events": 1000, "placing_orders": 200}
    parts = _names(given.only, "".join(PARTS))
    if not parts <= set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}")
    chosen = {name: value if getattr(given, name) is None else getattr(given, name) for name, value in usual.items()}
    if min(chosen.values()) < 1 or given.stored < 0:
        parser.error("all numbers must be more than nothing")
    return Knobs(
        **chosen,
        parts=parts,
        contenders=_names(given.contenders, ""),
        stored=given.stored,
        # By default the number of events of an order.
        stored_events=7 * given.stored if given.stored_events is None else given.stored_events,
        picture=given.picture,
        markdown=given.markdown,
        docs=Path("docs/lab/benchmarks.md") if given.write_docs else None,
        resume=given.resume,
    )


def _add(parser: ArgumentParser) -> None:
    for name, what in (
        ("orders", "how many orders each contender takes through the flow, each round (1000)"),
        ("rounds", "how often everything is measured (5)"),
        ("latency-orders", "how many orders one after the other, and how often a page, each round (200)"),
        ("relay-events", "how many events wait for the relay (10000)"),
        ("placing-orders", "how many orders are placed over HTTP and from a file (2000)"),
    ):
        parser.add_argument(f"--{name}", type=int, help=what)
    parser.add_argument("--stored", type=int, default=0, help="a second pass with so many orders of history")
    parser.add_argument("--stored-events", type=int, help="events of that history (seven times as many)")
    parser.add_argument("--only", default="", help="parts, with commas: " + "; ".join(map(": ".join, PARTS.items())))
    parser.add_argument("--contenders", default="", help="names, with commas: ours, dbos-queue, …")
    parser.add_argument("--quick", action="store_true", help="little of everything: do the benchmarks work?")
    parser.add_argument("--picture", type=Path, help="where the picture goes, .svg or .png (beside results.json)")
    parser.add_argument("--markdown", type=Path, help="where the Markdown goes (beside results.json)")
    parser.add_argument("--resume", action="store_true", help="go on where the last run with these options stopped")
    parser.add_argument("--write-docs", action="store_true", help="put table and picture into docs/lab/benchmarks.md")


def _names(given: str, usual: str) -> frozenset[str]:
    return frozenset(name.strip() for name in given.split(",") if name.strip()) or frozenset(usual)
