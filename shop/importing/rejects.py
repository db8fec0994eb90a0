"""The file of refused lines: each with its line number, the reason, and its original fields."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .reading import InvoiceFile, Reject
from .records import UnreadableFile

#: Columns before the original ones; ignored when such a file is imported.
REJECT_COLUMNS = ("line", "reason")


class RejectFile:
    """Writes refused lines so that they can be corrected and imported: with the original columns and separator."""

    def __init__(self, file: TextIO, columns: Sequence[str], separator: str) -> None:
        self.path = Path(file.name)
        self._kept = [place for place, name in enumerate(columns) if name not in REJECT_COLUMNS]
        self._width = len(columns)
        self._writer = csv.writer(file, delimiter=separator)
        self._writer.writerow([*REJECT_COLUMNS, *(columns[place] for place in self._kept)])

    def write(self, reject: Reject) -> None:
        values = reject.values
        # A line that is too short or too long does not have these columns.
        kept = [values[place] for place in self._kept] if len(values) == self._width else values
        self._writer.writerow([reject.line, reject.reason, *kept])


@contextmanager
def open_rejects(invoices: InvoiceFile, wanted: Path | None) -> Iterator[RejectFile]:
    """Open the file at the given path, else beside the original, else in the current folder.

    Raises:
        UnreadableFile: it cannot be written, or would be the original itself.
    """
    original = invoices.csv.path
    name = f"{original.name}.rejects.csv"
    if wanted is not None:
        file = _opened(wanted, original)
    else:
        try:
            file = _opened(original.with_name(name), original)
        except UnreadableFile:
            file = _opened(Path(name), original)
    with file:
        yield RejectFile(file, invoices.csv.columns, invoices.csv.separator)


def _opened(path: Path, original: Path) -> TextIO:
    if path.exists() and path.samefile(original):
        raise UnreadableFile("The refused lines would overwrite the file they come from; give --rejects another path.")
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be written ({error.strerror}); give --rejects another path.") from None
