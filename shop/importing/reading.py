"""A file of invoice lines as invoices: streaming, and with a reason for each line that is refused.

The lines of an invoice have to stand together. One that comes later is refused: its invoice has been placed by then,
and an order that was placed does not change.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Self

from orders.services import MAX_MINOR, MAX_QUANTITY

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
#: Columns of the file of refused lines, in front of the original ones; left out when such a file is read again.
REJECT_COLUMNS = ("line", "reason")

_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,39}")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_CUSTOMER = re.compile(r"([0-9]{1,18})(?:\.0)?")  # some exports write it as 17850.0
_INVOICE = re.compile(r"[!-~]{1,100}")
#: Month first, as in the original; some exports write slashes.
_DATES = ("%m-%d-%Y %H:%M", "%m/%d/%Y %H:%M")


class UnreadableFile(Exception):  # noqa: N818 - a refusal, no bug
    """The file cannot be read as a whole; the message is one line for people."""


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A line that is not imported.

    Attributes:
        kind: the reason without particulars, to count by.
        values: the line as it stands in the file.
    """

    line: int
    kind: str
    reason: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A good line; the price in minor units."""

    line: int
    values: tuple[str, ...]
    invoice: str
    sku: str
    description: str
    quantity: int
    unit_price_minor: int
    customer_id: str

    def rejected(self, kind: str, reason: str) -> Reject:
        return Reject(line=self.line, kind=kind, reason=reason, values=self.values)


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """The good lines of one invoice; a refused line does not hold the others back."""

    number: str
    lines: tuple[Line, ...]


class _BadLine(Exception):  # noqa: N818 - a refusal, no bug
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


class InvoiceFile:
    """A file under the reader.

    Attributes:
        columns: as the file names them.
        lines: how many lines were read so far, the header left out.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its header.

        Raises:
            UnreadableFile: there is none, it is empty, or a column is missing.
        """
        self.path, self.lines = path, 0
        if not path.exists():
            raise UnreadableFile(f"{path} does not exist.")
        if not path.is_file():
            raise UnreadableFile(f"{path} is not a file.")
        try:
            self.encoding = _encoding(path)
            self._bytes = path.open("rb")
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be read: {error.strerror}.") from None
        self._reader = csv.reader(io.TextIOWrapper(self._bytes, encoding=self.encoding, newline=""))
        self.size = path.stat().st_size
        try:
            self.columns = self._header()
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

    def __iter__(self) -> Iterator[Invoice | Reject]:
        """Yield what stands in the file, an invoice as soon as its last line was read."""
        together: list[Line] = []
        finished: set[str] = set()
        for number, values in self._rows():
            try:
                line = self._line(number, values)
                _check_place(line, together, finished)
            except _BadLine as bad:
                yield Reject(line=number, kind=bad.kind, reason=bad.reason, values=tuple(values))
                continue
            if together and together[0].invoice != line.invoice:
                finished.add(together[0].invoice)
                yield Invoice(number=together[0].invoice, lines=tuple(together))
                together = []
            together.append(line)
        if together:
            yield Invoice(number=together[0].invoice, lines=tuple(together))

    def _header(self) -> list[str]:
        for _, values in self._records():
            columns = [name.strip() for name in values]
            missing = [name for name in COLUMNS if name not in columns]
            if missing:
                raise UnreadableFile(f"{self.path} lacks the columns {', '.join(missing)}.")
            return columns
        raise UnreadableFile(f"{self.path} is empty.")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        for number, values in self._records():
            if values:
                self.lines += 1
                yield number, values

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record with the number of the line it begins on."""
        while True:
            number = self._reader.line_num + 1
            try:
                yield number, next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise UnreadableFile(f"{self.path}, line {number}: {error}.") from None

    def _line(self, number: int, values: list[str]) -> Line:
        if len(values) != len(self.columns):
            raise _BadLine("columns", f"the line has {len(values)} columns, the header {len(self.columns)}")
        named = {name: value.strip() for name, value in zip(self.columns, values, strict=True)}
        invoice = _invoice(named["InvoiceNo"])
        _check_date(named["InvoiceDate"])
        return Line(
            line=number,
            values=tuple(values),
            invoice=invoice,
            sku=_sku(named["StockCode"]),
            description=_one_line(named["Description"]),
            quantity=_quantity(named["Quantity"]),
            unit_price_minor=_price(named["UnitPrice"]),
            customer_id=_customer(named["CustomerID"]),
        )


def _encoding(path: Path) -> str:
    """Return UTF-8 if the whole file is that, Latin-1 otherwise."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise UnreadableFile(f"{path} is UTF-16; save it as UTF-8.")
        file.seek(0)
        try:
            while chunk := file.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig"


# The fields of a line --------------------------------------------------------------------------------------------


def _invoice(text: str) -> str:
    if not text:
        raise _BadLine("invoice number", "InvoiceNo is empty")
    if not _INVOICE.fullmatch(text):
        raise _BadLine("invoice number", f"InvoiceNo {text[:100]!r} is not an invoice number")
    if text[0] in "Cc":
        raise _BadLine("cancellation", f"invoice {text} is a cancellation; those are not imported yet")
    return text


def _check_date(text: str) -> None:
    # Only looked at: an order is placed when it is imported, and its deadlines count from then.
    for form in _DATES:
        with suppress(ValueError):
            datetime.strptime(text, form)  # noqa: DTZ007 - the file does not say in which zone
            return
    raise _BadLine("date", f"InvoiceDate {text[:100]!r} is not a date like 12-31-2010 08:26")


def _sku(text: str) -> str:
    if not text:
        raise _BadLine("stock code", "StockCode is empty")
    if not _SKU.fullmatch(text):
        raise _BadLine("stock code", f"StockCode {text[:100]!r} is not a SKU")
    return text


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200].strip()


def _quantity(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise _BadLine("quantity", f"Quantity {text[:100]!r} is not a whole number")
    quantity = int(text)
    if quantity <= 0:
        raise _BadLine("return", f"Quantity {quantity} is not positive; returns are not imported yet")
    if quantity > MAX_QUANTITY:
        raise _BadLine("quantity", f"Quantity {quantity} is more than {MAX_QUANTITY}")
    return quantity


def _price(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _BadLine("price", f"UnitPrice {text[:100]!r} is not a number")
    minor = Decimal(text) * 100
    if minor <= 0:
        raise _BadLine("price not positive", f"UnitPrice {text} is not positive")
    if minor != int(minor):
        # Rounding would make the invoice's total another one.
        raise _BadLine("price", f"UnitPrice {text} has more than two decimals")
    if minor > MAX_MINOR:
        raise _BadLine("price", f"UnitPrice {text} is too large")
    return int(minor)


def _customer(text: str) -> str:
    if not text:
        return ""
    found = _CUSTOMER.fullmatch(text)
    if found is None:
        raise _BadLine("customer", f"CustomerID {text[:100]!r} is not a number")
    return found[1]


def _check_place(line: Line, together: list[Line], finished: set[str]) -> None:
    """See that a line belongs to the invoice it says."""
    if line.invoice in finished:
        raise _BadLine("invoice torn apart", f"invoice {line.invoice} ended further up; its lines must stand together")
    first = together[0] if together and together[0].invoice == line.invoice else line
    if line.customer_id != first.customer_id:
        raise _BadLine(
            "customer",
            f"CustomerID {line.customer_id or 'none'} is not {first.customer_id or 'none'}, that of the invoice",
        )
