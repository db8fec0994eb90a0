"""The results as Markdown, and their place in the documentation."""

from pathlib import Path

import embedded

from . import picture, table
from .results import Book

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
#: Where the documentation keeps its pictures, seen from the page.
_PICTURE = Path("images") / "benchmarks.svg"


def markdown(book: Book) -> str:
    facts = book.facts
    ran_on = (
        f"Measured {facts['at']}: {facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB, "
        f"{facts['kernel']}; Python {facts['python']}, PostgreSQL {facts['postgresql']} (fsync {facts['fsync']}), "
        f"Django {facts['django']}, Celery {facts['celery']}, DBOS {facts['dbos']}; {facts['orders']} orders, "
        f"{book.rounds()}, up to {facts['batch_size']} runs a chain; load of the machine before: "
        f"{facts['load_before']}."
    )
    parts = [
        ran_on,
        _table(table.TARGET_HEADS, table.target_rows(book)),
        _table(table.heads(book), table.rows(book)),
        _table(table.MEMORY_HEADS, table.memory_rows(book)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(book: Book, page: Path) -> None:
    """Put tables and picture between the two marks of a page.

    Raises:
        SystemExit: the page has no such marks.
    """
    page = embedded.PROJECT / page
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"benchmark: {page} has no place for the results: {BEGIN} and {END}")
    picture.draw(book, page.parent / _PICTURE)
    shown = f"![Orders a second, latency, relay]({_PICTURE})\n\n{markdown(book)}"
    page.write_text(f"{before}{BEGIN}\n\n{shown}\n{END}{after}")


def _table(heads: list[str], lines: list[list[str]]) -> str:
    if not lines:
        return ""
    rules = ["---" for _ in heads]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *lines))
