"""What is printed at the end, and the rows that the documentation shows, too."""

from rich.console import Console
from rich.table import Table

from . import machine, targets, telling
from .contenders import ALL
from .results import Book, Figure

_TITLES = {kind.name: kind.title for kind in ALL} | {
    "post": "the shop, POST /api/orders",
    "post-synchronous": "the same, all steps before the answer",
    "beside-import": "the shop, by hand while an import is under way",
    "starts": "one relay, events that start a run",
    "deliveries": "one relay, events owed to one subscription",
    "api": "POST /api/orders, several clients",
    "import": "manage.py import_orders",
    **telling.TITLES,
    "loop": f"a loop of {machine.ADDITIONS:,} additions, without waiting",
}


def title(who: str) -> str:
    return _TITLES.get(who, who)


def spread(median: float, least: float, most: float) -> str:
    """Return `120 (110 to 131)`, with as many digits as can be believed."""
    return f"{short(median)} ({short(least)} to {short(most)})"


def short(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def heads(book: Book) -> list[str]:
    """Return the names of the columns; with a history there are two more."""
    stored = book.facts.get("stored", 0)
    return [
        "measured", "who", "figure", "median (min to max)", *([f"{stored:,} orders stored", "ratio"] if stored else []),
    ]  # fmt: skip


def rows(book: Book) -> list[list[str]]:
    """Return a row for each figure, those of one kind together."""
    found: dict[tuple[str, str, str], dict[bool, Figure]] = {}
    for figure in book.figures():
        found.setdefault((figure.what, figure.name, figure.who), {})[bool(figure.stored)] = figure
    places = {name: place for place, name in enumerate(_TITLES)}
    kinds = ("throughput", "latency", "relay", "telling", "placing", "pages", "machine")
    ordered = sorted(found, key=lambda key: (kinds.index(key[0]), key[1], places.get(key[2], 0)))
    return [
        [what, title(who), name, *_cells(found[what, name, who], with_history=bool(book.facts.get("stored")))]
        for what, name, who in ordered
    ]


def _cells(figures: dict[bool, Figure], *, with_history: bool) -> list[str]:
    empty, filled = figures.get(False), figures.get(True)
    cells = ["-" if one is None else spread(one.median, one.least, one.most) for one in (empty, filled)]
    if not with_history:
        return cells[:1]
    if empty is None or filled is None or not empty.median:
        return [*cells, "-"]
    return [*cells, f"{filled.median / empty.median:.2f}"]


def target_rows(book: Book) -> list[list[str]]:
    return [
        [
            result.target.text + (f", {result.stored:,} orders stored" if result.stored else ""),
            result.target.wanted,
            spread(result.median, result.least, result.most),
            "reached" if result.reached else "missed",
        ]
        for result in targets.results(book)
    ]


def memory_rows(book: Book) -> list[list[str]]:
    """Return how much memory each contender had at most: all its processes, and each."""
    return [
        [
            title(who),
            str(len(peaks)),
            f"{sum(peaks.values()) / 1024:,.0f}",
            ", ".join(f"{name} {peak / 1024:,.0f}" for name, peak in peaks.items()),
        ]
        for who, peaks in book.memory.items()
    ]


TARGET_HEADS = ["target", "wanted", "found: median (min to max)", ""]
MEMORY_HEADS = ["who", "processes", "all together, MB", "each at its peak, MB"]


def show(book: Book, console: Console) -> None:
    facts = book.facts
    console.print(
        f"\n{facts['orders']} orders, {book.rounds()}; {facts['cores']} cores, PostgreSQL "
        f"{facts['postgresql']}, fsync {facts['fsync']}, Python {facts['python']}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_table("Measured", heads(book), rows(book)))
    console.print(_table("Memory", MEMORY_HEADS, memory_rows(book)))
    found = target_rows(book)
    if found:
        console.print(_table("Targets", TARGET_HEADS, found))


def _table(name: str, columns: list[str], lines: list[list[str]]) -> Table:
    shown = Table(title=name, title_justify="left")
    for column in columns:
        shown.add_column(column)
    before = ""
    for line in lines:
        if before and name == "Measured" and line[0] != before:
            shown.add_section()
        before = line[0]
        shown.add_row(*[_coloured(cell) for cell in line])
    return shown


def _coloured(cell: str) -> str:
    return {"reached": "[green]reached[/]", "missed": "[red]missed[/]"}.get(cell, cell)
