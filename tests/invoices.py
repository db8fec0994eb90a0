"""Files of invoices for the import, and what it says of them."""

import csv
from io import StringIO
from pathlib import Path

from django.core.management import call_command
from django.db.models import Sum

from inventory.models import StockItem
from orders.models import Order, OrderLine
from sagas.models import Event
from shop.importing.reading import COLUMNS

GOOD = {
    "InvoiceNo": "536365",
    "StockCode": "85123A",
    "Description": "WHITE HANGING HEART T-LIGHT HOLDER",
    "Quantity": "6",
    "InvoiceDate": "12-01-2010 08:26",
    "UnitPrice": "2.55",
    "CustomerID": "17850",
    "Country": "United Kingdom",
}


def row(**changes: str) -> dict[str, str]:
    return GOOD | changes


def write(path: Path, *rows: dict[str, str], encoding: str = "utf-8", separator: str = ",") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    """Write lines as they are, quotes and all, below the usual header."""
    path.write_bytes("".join(f"{line}\r\n" for line in [",".join(COLUMNS), *lines]).encode(encoding))
    return path


def cup(number: int, description: str = "Cup", price: str = "3.95") -> str:
    """Return the line of an invoice with one SKU, `UQ-1` for number 1."""
    return f"{830000 + number},UQ-{number},{description},1,12-31-2010 08:26,{price},17850,UK"


def rejects_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.rejects.csv")


def placed_lines() -> list[tuple[str, str, int, int]]:
    """Return key of the order, SKU, quantity and price of all order lines there are."""
    found = OrderLine.objects.values_list("order__idempotency_key", "sku", "quantity", "unit_price_minor")
    return [(key or "", sku, quantity, price) for key, sku, quantity, price in found.order_by("order_id", "sku")]


def run(file: Path, *arguments: str) -> str:
    out = StringIO()
    call_command("import_orders", str(file), *arguments, stdout=out)
    return out.getvalue()


def rejects(file: Path, separator: str = ",") -> list[tuple[str, str]]:
    with rejects_file(file).open(newline="") as read:
        return [(line["line"], line["reason"]) for line in csv.DictReader(read, delimiter=separator)]


def many(path: Path, invoices: int) -> Path:
    """Write a file of invoices with three lines each; ten SKUs, so that they all want the same shelves."""
    return write(
        path,
        *(
            row(InvoiceNo=str(600_000 + number), StockCode=f"SKU{(number + line) % 10}", Quantity=str(line + 1))
            for number in range(invoices)
            for line in range(3)
        ),
    )


def assert_complete(invoices: int) -> None:
    """See every invoice of `many` placed once, with exactly the stock it asks for."""
    assert Order.objects.count() == invoices
    assert OrderLine.objects.count() == 3 * invoices
    assert Event.objects.filter(type="orders.order_placed").count() == invoices
    assert StockItem.objects.aggregate(total=Sum("on_hand"))["total"] == 6 * invoices
