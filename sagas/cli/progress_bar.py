"""Progress of management commands: a bar in a terminal, a line from time to time elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

#: Seconds between two lines without a terminal.
_SAY_EVERY_SECONDS = 5.0

#: Called with the amount that is done, and a note.
Show = Callable[[int, str], None]


@contextmanager
def progress(what: str, total: int, say: Callable[[str], object]) -> Iterator[Show]:
    if not sys.stderr.isatty():
        yield _lines(what, total, say)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


def _lines(what: str, total: int, say: Callable[[str], object]) -> Show:
    said_at = time.monotonic()

    def show(done: int, note: str) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > _SAY_EVERY_SECONDS:
            said_at = time.monotonic()
            say(f"{what}: {100 * done // max(total, 1)} %, {note}")

    return show
