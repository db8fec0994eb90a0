"""Reads a CSV file as records: detects encoding and separator, and refuses single lines that are not CSV."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .fields import BadLine

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
#: The first line of files that spreadsheets write, which names the separator.
_SEPARATOR_LINE = re.compile(r'"?sep=(\t|[^\w\s"])"?\s*', re.IGNORECASE)
#: The csv module's own limit of a field; a longer line is no invoice line.
_MAX_LINE_CHARACTERS = csv.field_size_limit()
#: Stands for bytes that could not be decoded.
_UNREADABLE = "\ufffd"
#: How Python's `surrogateescape` keeps bytes that are not UTF-8.
_NOT_UTF_8 = re.compile("[\udc80-\udcff]")


class UnreadableFile(Exception):  # noqa: N818 - a refusal, no bug
    """The file cannot be read as a whole; the message is one line for people."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A line of the file, or several lines if a quoted field has line breaks.

    Attributes:
        line: number of its first line, as an editor counts.
        bad: why it cannot be read; `values` are then the texts between the separators, with quotes.
    """

    line: int
    values: list[str]
    bad: BadLine | None = None


class CsvFile:
    """An open file.

    Attributes:
        columns: as the file names them.
    """

    def __init__(self, path: Path, *, needed: Sequence[str]) -> None:
        """Open the file and read its header.

        Raises:
            UnreadableFile: there is none, it is empty, or a column is missing.
        """
        if not path.exists():
            raise UnreadableFile(f"{path} does not exist.")
        if not path.is_file():
            raise UnreadableFile(f"{path} is not a file.")
        try:
            self.encoding = _encoding(path)
            self._bytes = path.open("rb")
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be read: {error.strerror}.") from None
        self.path, self.size = path, path.stat().st_size
        self._text = io.TextIOWrapper(self._bytes, encoding=self.encoding, errors="replace", newline="")
        self._line = 0
        self._again: deque[str] = deque()
        try:
            self.separator, self.columns = self._header(needed)
        except UnreadableFile:
            self._bytes.close()
            raise

    @property
    def position(self) -> int:
        """How many bytes were read so far."""
        return self._bytes.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()

    def __iter__(self) -> Iterator[Record]:
        """Yield the records behind the header; a blank line has no values."""
        while text := self._next():
            yield self._record(text)

    def _header(self, needed: Sequence[str]) -> tuple[str, list[str]]:
        text = self._next_not_blank()
        possible = list(_SEPARATORS)
        if said := _SEPARATOR_LINE.fullmatch(text):
            possible, text = [said[1]], self._next_not_blank()
        found = {separator: _split(text, separator) for separator in possible}
        separator = max(possible, key=lambda one: (len(set(needed).intersection(found[one])), text.count(one)))
        if missing := [name for name in needed if name not in found[separator]]:
            name = _SEPARATORS.get(separator, repr(separator))
            raise UnreadableFile(
                f"{self.path} lacks the columns {', '.join(missing)}. The separator found is the {name}."
            )
        return separator, found[separator]

    def _next_not_blank(self) -> str:
        while text := self._next():
            if text.strip():
                return text
        raise UnreadableFile(f"{self.path} is empty.")

    def _record(self, first: str) -> Record:
        line, pieces = self._line, first.rstrip("\r\n").split(self.separator)
        if _is_cut(first):
            bad = BadLine("too long", f"the line is longer than {_MAX_LINE_CHARACTERS} characters")
            return Record(line=line, values=pieces, bad=bad)
        values = self._values(first)
        if values is None:
            bad = BadLine("quotes", 'a quoted field is not closed, or has a single " inside, which is written ""')
            return Record(line=line, values=pieces, bad=bad)
        if any(_UNREADABLE in value for value in values):
            name = "Windows-1252" if self.encoding == "cp1252" else "UTF-8"
            bad = BadLine("encoding", f"some letters cannot be read as {name} and are replaced by U+FFFD")
            return Record(line=line, values=values, bad=bad)
        return Record(line=line, values=values)

    def _values(self, first: str) -> list[str] | None:
        """Return the fields of the record that begins with this line; None, after this line only, if it is not CSV."""
        taken = [first]
        try:
            values = next(csv.reader(self._lines_of_one(taken), delimiter=self.separator, strict=True))
        except csv.Error:
            pass
        else:
            if len(taken) == 1 or len(values) == len(self.columns):
                return values
        self._put_back(taken[1:])
        return None

    def _lines_of_one(self, taken: list[str]) -> Iterator[str]:
        """Yield the lines of one record to the csv reader, which reads a second one only inside quotes.

        A line with all columns is a new record: the quote before it was never closed. The reader gets no further line
        and raises an error.
        """
        yield taken[0]
        while text := self._next():
            if text.count(self.separator) + 1 >= len(self.columns):
                self._put_back([text])
                return
            taken.append(text)
            yield text

    def _next(self) -> str:
        """Return the next line with its end, cut if it is too long; empty at the end of the file."""
        if self._again:
            text = self._again.popleft()
        else:
            text = piece = self._text.readline(_MAX_LINE_CHARACTERS)
            while _is_cut(piece):
                piece = self._text.readline(_MAX_LINE_CHARACTERS)
        self._line += bool(text)
        return text

    def _put_back(self, lines: list[str]) -> None:
        self._again.extendleft(reversed(lines))
        self._line -= len(lines)


def _encoding(path: Path) -> str:
    """Return UTF-8 if some non-ASCII letter is valid UTF-8, or if there is none; otherwise Windows-1252.

    In a file with both, lines that are not UTF-8 are refused: their letters are not known.
    """
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise UnreadableFile(f"{path} is UTF-16; save it as UTF-8.")
    encoding = "utf-8-sig"
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file_as_utf8:
        while text := file_as_utf8.readline(_MAX_LINE_CHARACTERS):
            if _NOT_UTF_8.search(text):
                encoding = "cp1252"
            elif not text.isascii():
                return "utf-8-sig"
    return encoding


def _split(text: str, separator: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([text], delimiter=separator))]


def _is_cut(text: str) -> bool:
    return len(text) == _MAX_LINE_CHARACTERS and not text.endswith(("\r", "\n"))
