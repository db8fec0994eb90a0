"""Reads a file of invoice lines as invoices: streaming, with a reason for each refused line.

The lines of an invoice must be consecutive. A later line is refused: its invoice has been placed by then, and a placed
    order does not change. If one line of a SKU is refused, all lines of that SKU on the invoice are: so each SKU of an
    invoice is placed once and complete, and a corrected line differs from a placed one.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from . import fields
from .fields import BadLine
from .records import CsvFile, Record

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A line that is not imported.

    Attributes:
        kind: the reason without details, for counting.
        values: the fields of the line, as in the file.
    """

    line: int
    kind: str
    reason: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FileLine:
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
    """The good lines of one invoice; a refused line holds back those of its SKU only.

    Attributes:
        refused: SKUs that have refused lines.
    """

    number: str
    lines: tuple[FileLine, ...]
    refused: frozenset[str]


class InvoiceFile:
    """An open file.

    Attributes:
        lines: how many lines were read so far, the header left out; a field with line breaks counts as one line.
        blank: how many of them were blank.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its header.

        Raises:
            UnreadableFile: there is none, it is empty, or a column is missing.
        """
        self.csv = CsvFile(path, needed=COLUMNS)
        self.lines = self.blank = 0
        self._finished: set[str] = set()
        #: SKUs with a refused line, by invoice, until that invoice is finished.
        self._refused: dict[str, set[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.csv.__exit__()

    def __iter__(self) -> Iterator[Invoice | Reject]:
        """Yield invoices and rejects, an invoice as soon as its last line was read."""
        together: list[FileLine] = []
        for record in self._records():
            try:
                line = self._line(record)
                self._check_place(line, together)
            except BadLine as bad:
                self._remember_refused(record)
                yield Reject(line=record.line, kind=bad.kind, reason=bad.reason, values=tuple(record.values))
                continue
            if together and together[0].invoice != line.invoice:
                yield from self._finish(together)
                together = []
            together.append(line)
        if together:
            yield from self._finish(together)

    def _records(self) -> Iterator[Record]:
        for record in self.csv:
            self.lines += 1
            if record.values:
                yield record
            else:
                self.blank += 1

    def _line(self, record: Record) -> FileLine:
        if record.bad:
            raise record.bad
        named = self._named(record)
        invoice = fields.invoice(named["InvoiceNo"].strip())
        fields.check_date(named["InvoiceDate"].strip())
        return FileLine(
            line=record.line,
            values=tuple(record.values),
            invoice=invoice,
            sku=fields.sku(named["StockCode"].strip()),
            description=fields.description(named["Description"]),
            quantity=fields.quantity(named["Quantity"].strip()),
            unit_price_minor=fields.price(named["UnitPrice"].strip(), separator=self.csv.separator),
            customer_id=fields.customer(named["CustomerID"].strip()),
        )

    def _named(self, record: Record) -> dict[str, str]:
        wanted, found = len(self.csv.columns), len(record.values)
        if found != wanted:
            raise BadLine("columns", f"the line has {found} columns, the header {wanted}")
        return dict(zip(self.csv.columns, record.values, strict=True))

    def _check_place(self, line: FileLine, together: list[FileLine]) -> None:
        """Check that a line belongs to its invoice."""
        if line.invoice in self._finished:
            raise BadLine(
                "invoice torn apart", f"invoice {line.invoice} ended further up; its lines must stand together"
            )
        first = together[0] if together and together[0].invoice == line.invoice else line
        if line.customer_id != first.customer_id:
            raise BadLine(
                "customer",
                f"CustomerID {line.customer_id or 'none'} is not {first.customer_id or 'none'}, that of the invoice",
            )

    def _remember_refused(self, record: Record) -> None:
        with suppress(BadLine):  # its invoice or its SKU cannot be read
            named = self._named(record)
            invoice, sku = fields.invoice(named["InvoiceNo"].strip()), fields.sku(named["StockCode"].strip())
            if invoice not in self._finished:
                self._refused.setdefault(invoice, set()).add(sku)

    def _finish(self, lines: list[FileLine]) -> Iterator[Invoice | Reject]:
        number = lines[0].invoice
        self._finished.add(number)
        refused = self._refused.pop(number, set())
        good = tuple(line for line in lines if line.sku not in refused)
        for line in lines:
            if line.sku in refused:
                yield line.rejected(
                    "SKU refused", f"another line of {line.sku} on invoice {number} is refused; correct both"
                )
        if good:
            yield Invoice(number=number, lines=good, refused=frozenset(refused))
