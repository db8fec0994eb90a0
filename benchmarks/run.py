"""One run: rounds of all measurements, interleaved, then the tables."""

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from sagas.cli.progress_bar import Show, progress

from . import (
    contenders,
    document,
    facts,
    fairness,
    ground,
    latency,
    machine,
    pages,
    picture,
    placing,
    posting,
    relaying,
    table,
    telling,
    throughput,
)
from .contenders import Contender
from .knobs import Knobs
from .results import Book, Measured


@dataclass(frozen=True, kw_only=True)
class Job:
    """One thing to measure in each round; takes a seed that differs from round to round."""

    name: str
    measure: Callable[[str], Sequence[Measured]]


class Run:
    """Owns every process it starts; all of them are gone when `run` returns or raises."""

    def __init__(self, knobs: Knobs, folder: Path) -> None:
        self.knobs, self.folder, self.logs = knobs, folder, folder / "log"
        self.console = Console(width=None if sys.stdout.isatty() else 120)
        self.results = folder / "results.json"
        self.book = Book()
        self.wanted = [kind for kind in contenders.ALL if not knobs.contenders or kind.name in knobs.contenders]

    def run(self) -> int:
        if self.knobs.stored and importlib.util.find_spec("benchmarks.filling") is None:
            raise SystemExit("benchmark: --stored needs benchmarks/filling.py, which is not there")
        if self.knobs.resume and not self.results.exists():
            raise SystemExit(f"benchmark: nothing to resume: there is no {self.results}")
        facts.note_commits()
        ground.make()
        if any(issubclass(kind, contenders.DbosDirect) for kind in self.wanted):
            from . import dbos_flow

            dbos_flow.migrate()
        self.book.facts = facts.collect(self.knobs)
        if self.knobs.resume:
            self._resume()
        jobs = self._jobs()
        passes = [0, self.knobs.stored] if self.knobs.stored else [0]
        with progress("Benchmark", len(jobs) * self.knobs.rounds * len(passes), self.console.print) as show:
            for number, stored in enumerate(passes):
                if stored and self.book.history is None:
                    self._fill(stored)
                self._rounds(jobs, stored, number * len(jobs) * self.knobs.rounds, show)
        self._report()
        return 0

    def _jobs(self) -> list[Job]:
        knobs, book, logs = self.knobs, self.book, self.logs
        jobs = [Job(name="machine", measure=lambda _: machine.measure())]
        if knobs.parts & {"a", "d"}:
            jobs += [
                Job(name=kind.name, measure=lambda seed, kind=kind: self._contend(kind, seed))  # type: ignore[misc]
                for kind in self.wanted
                if "a" in knobs.parts or kind.one_by_one
            ]
        if "d" in knobs.parts and not knobs.contenders:
            count, burst = knobs.latency_orders, knobs.placing_orders
            jobs += [
                Job(name="post", measure=lambda seed: posting.ours(book, logs, orders=count, seed=seed)),
                Job(name="post-sync", measure=lambda seed: posting.synchronous(book, logs, orders=count, seed=seed)),
                Job(name="beside-import", measure=lambda seed: fairness.measure(logs, orders=burst, seed=seed)),
            ]
        if "e" in knobs.parts:
            events = knobs.relay_events
            jobs += [
                Job(name="starts", measure=lambda seed: relaying.starts(book, logs, events=events, seed=seed)),
                Job(name="deliveries", measure=lambda _: relaying.deliveries(book, logs, events=events)),
            ]
        if "f" in knobs.parts:
            orders = knobs.placing_orders
            jobs += [
                Job(name="api", measure=lambda seed: placing.over_http(book, logs, orders=orders, seed=seed)),
                Job(name="import", measure=lambda seed: placing.from_file(self.folder, orders=orders, seed=seed)),
            ]
        if "p" in knobs.parts:
            times = knobs.latency_orders
            jobs += [Job(name="pages", measure=lambda seed: pages.measure(logs, times=times, seed=seed))]
        if "t" in knobs.parts:
            count = knobs.latency_orders
            jobs += [
                Job(name=way, measure=lambda seed, way=way: telling.measure(logs, way=way, orders=count, seed=seed))  # type: ignore[misc]
                for way in telling.WAYS
            ]
        return jobs

    def _rounds(self, jobs: Sequence[Job], stored: int, done: int, show: Show) -> None:
        for number in range(self.knobs.rounds):
            # The first contender of this round is the last of the next.
            begin = number % max(1, len(jobs))
            for job in (*jobs[begin:], *jobs[:begin]):
                if (stored, number, job.name) not in self.book.done:
                    show(done, f"round {number + 1}{', with history' if stored else ''}: {job.name}")
                    self._clear()
                    for measured in job.measure(f"round {number}{' stored' if stored else ''}"):
                        self._keep(replace(measured, round=number, stored=stored))
                    self.book.done.append((stored, number, job.name))
                    self._save()
                done += 1
        show(done, "done")

    def _contend(self, kind: type[Contender], seed: str) -> list[Measured]:
        """Measure a contender that is warm."""
        contender, measured = kind(self.logs), []
        try:
            contender.start()
            throughput.measure(contender, orders=throughput.WARM_UP, seed=f"{seed}, warm-up")
            if "a" in self.knobs.parts:
                measured += throughput.measure(contender, orders=self.knobs.orders, seed=seed)
            if "d" in self.knobs.parts and kind.one_by_one:
                measured += latency.measure(contender, orders=self.knobs.latency_orders, seed=f"{seed}, one by one")
            self.book.remember(kind.name, contender.peak_memory())
        finally:
            contender.stop()
        return measured

    def _clear(self) -> None:
        if self.book.history is None:
            ground.clear()
        else:
            ground.forget_since(self.book.history)

    def _fill(self, orders: int) -> None:
        self._clear()
        filling = importlib.import_module("benchmarks.filling")
        filling.fill(orders=orders, events=self.knobs.stored_events)
        ground.settle()
        self.book.history = ground.last_position()
        self._save()

    def _keep(self, measured: Measured) -> None:
        self.book.measured.append(measured)
        figures = ", ".join(f"{name} {value:,.1f}" for name, value in measured.figures.items())
        history = f" ({measured.stored:,} orders stored)" if measured.stored else ""
        self.console.print(
            f"round {measured.round + 1}{history}: {measured.what}, {measured.who}: {figures}", highlight=False
        )

    def _save(self) -> None:
        """Keep what was measured so far: it takes hours, and may be stopped at any moment."""
        new = self.results.with_suffix(".new")
        new.write_text(json.dumps(self.book.document(), indent=1) + "\n")
        new.replace(self.results)

    def _resume(self) -> None:
        """Take what an earlier run measured as measured, and its history.

        Raises:
            SystemExit: it measured something else.
        """
        before = Book.read(json.loads(self.results.read_text()))
        asked = ("orders", "latency_orders", "relay_events", "placing_orders", "stored", "batch_size")
        other = [name for name in asked if before.facts[name] != self.book.facts[name]]
        if other:
            raise SystemExit(f"benchmark: cannot resume what was measured with other {', '.join(other)}")
        if before.history is not None and before.history > ground.last_position():
            raise SystemExit("benchmark: cannot resume: the history is gone")
        without = {number for stored, number, _ in before.done if not stored}
        if before.history is not None and not without.issuperset(range(self.knobs.rounds)):
            raise SystemExit(f"benchmark: cannot resume: there is a history now, and {len(without)} rounds without one")
        self.book = before

    def _report(self) -> None:
        self._save()
        table.show(self.book, self.console)
        markdown = self.knobs.markdown or self.folder / "results.md"
        drawn = self.knobs.picture or self.folder / "results.svg"
        picture.draw(self.book, drawn)
        markdown.write_text(document.markdown(self.book))
        if self.knobs.docs is not None:
            document.write(self.book, self.knobs.docs)
        self.console.print(f"Written: {self.results}, {markdown}, {drawn}", soft_wrap=True, highlight=False)
