"""What is printed at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from .asking import Answers
from .knobs import Knobs
from .recovery import Recovered
from .supervising import Supervised
from .verdict import Finding

#: Breaches of one promise that are spelt out.
_MAX_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is known at the end."""

    knobs: Knobs
    settings: str
    faults: int
    flow_seconds: float
    settle_seconds: float
    statuses: dict[str, int]
    answers: Answers
    findings: Sequence[Finding]
    recovered: Sequence[Recovered]
    processes: Sequence[Supervised]

    @property
    def breaches(self) -> int:
        return sum(len(finding.breaches) for finding in self.findings)


def show(report: Report, console: Console) -> None:
    console.print(_what_happened(report), highlight=False)
    console.print(_recovery(report))
    console.print(_promises(report))
    for finding in report.findings:
        if finding.breaches:
            console.print(f"\n[bold red]Broken: {finding.promise}[/]")
            for breach in finding.breaches[:_MAX_SHOWN]:
                console.print(f"  {breach}", markup=False, highlight=False)
            if len(finding.breaches) > _MAX_SHOWN:
                console.print(f"  … and {len(finding.breaches) - _MAX_SHOWN} more")
    verdict = "[bold red]BREACHED[/]" if report.breaches else "[bold green]HELD[/]"
    console.print(f"\n{verdict}: {report.breaches} breaches; SEED={report.knobs.seed} repeats orders and faults.")


def _what_happened(report: Report) -> str:
    knobs, answers = report.knobs, report.answers
    waits = sorted(answers.seconds) or [0.0]
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(report.statuses.items()))
    ends = [f"{one.name} ({', '.join(map(str, one.own_ends))})" for one in report.processes if one.own_ends]
    lines = (
        (
            f"[bold]Chaos[/]: {knobs.orders} orders at {knobs.rate:g} a second, by {knobs.coordination},"
            f" {report.faults} faults, SEED={knobs.seed}"
        ),
        f"Shorter than in production: {report.settings}",
        f"Orders: {statuses}; asked for {report.flow_seconds:.0f} s, all ended {report.settle_seconds:.1f} s later",
        (
            f"Answers: p50 {waits[len(waits) // 2] * 1000:.0f} ms, p99 {waits[len(waits) * 99 // 100]:.1f} s, max "
            f"{waits[-1]:.1f} s; {answers.tries_again} requests made again, the latest left "
            f"{answers.late_seconds:.1f} s late"
        ),
        f"Ended of themselves: {'; '.join(ends) or 'nobody'}",
    )
    return "\n".join(lines)


def _recovery(report: Report) -> Table:
    table = Table(title="Time to recover, in seconds", title_justify="left")
    table.add_column("fault")
    for name in ("times", "first progress p50", "max", "under way ended p50", "max"):
        table.add_column(name, justify="right")
    for row in report.recovered:
        cells = [
            f"{figure:.2f}" if seconds else "-"
            for seconds in (row.moved, row.ended)
            for figure in (row.middle(seconds), max(seconds, default=0.0))
        ]
        if row.kind == "all":
            table.add_section()
        table.add_row(row.kind, str(row.times), *cells)
    return table


def _promises(report: Report) -> Table:
    table = Table(title="What was promised", title_justify="left")
    table.add_column("promise")
    for name in ("checked", "breaches"):
        table.add_column(name, justify="right")
    for finding in report.findings:
        table.add_row(finding.promise, str(finding.checked), str(len(finding.breaches)))
    return table
