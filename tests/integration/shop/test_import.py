"""The import: what it takes, why it refuses, and that nothing is placed or received twice."""

import csv
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.models import Reservation, StockItem
from orders.models import Order, OrderLine, Product
from payments.models import Payment
from sagas.log.relay import relay_events
from sagas.models import Event, Run
from sagas.testing import drive
from shop.importing import placing, waiting
from shop.importing.reading import COLUMNS, Invoice, InvoiceFile
from tests.asking import shelf
from tests.conftest import ROOT, wait_for
from tests.factories.products import ProductFactory

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


def write(path: Path, *rows: dict[str, str], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(file: Path, *arguments: str) -> str:
    out = StringIO()
    call_command("import_orders", str(file), *arguments, stdout=out)
    return out.getvalue()


def rejects(file: Path) -> list[tuple[str, str]]:
    with file.with_name(f"{file.name}.rejects.csv").open(newline="") as read:
        return [(line["line"], line["reason"]) for line in csv.DictReader(read)]


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


# What becomes of good lines --------------------------------------------------------------------------------------


def test_invoices_become_confirmed_orders_with_products_and_stock(transactional_db: None, tmp_path: Path) -> None:
    file = write(
        tmp_path / "orders.csv",
        row(StockCode="A", Description="Apple", Quantity="6", UnitPrice="2.55"),
        row(StockCode="B", Description="", Quantity="1", UnitPrice="0.01"),
        row(StockCode="A", Description="Apple again", Quantity="4", UnitPrice="2.55"),  # merged
        row(StockCode="A", Description="Apple", Quantity="1", UnitPrice="2.1"),  # another price: a line of its own
        row(InvoiceNo="536366", StockCode="A", Quantity="3", UnitPrice="1000", CustomerID=""),
    )
    said = run(file)
    drive()

    assert "5 lines read" in said
    assert "2 orders placed" in said
    assert rejects(file) == []
    products = {product.sku: (product.name, product.price_minor) for product in Product.objects.all()}
    assert products == {"A": ("Apple", 255), "B": ("B", 1)}
    first, guest = Order.objects.order_by("id")
    assert (first.customer_email, first.customer_name) == ("customer-17850@example.com", "Customer 17850")
    assert (guest.customer_email, guest.customer_name) == ("guest-536366@example.com", "Guest of invoice 536366")
    assert sorted(first.lines.values_list("sku", "quantity", "unit_price_minor")) == [
        ("A", 1, 210),
        ("A", 10, 255),
        ("B", 1, 1),
    ]
    assert (first.total_minor, guest.total_minor) == (2761, 300_000)
    assert (first.status, guest.status) == ("confirmed", "confirmed")
    captured = Payment.objects.filter(status="captured").aggregate(total=Sum("amount_minor"))["total"]
    assert captured == 302_761
    assert shelf() == {"A": (0, 0), "B": (0, 0)}
    assert sorted(Reservation.objects.values_list("sku", "quantity", "status")) == [
        ("A", 3, "shipped"),
        ("A", 11, "shipped"),
        ("B", 1, "shipped"),
    ]


def test_the_stock_that_was_there_before_stays_as_it_was(shelves: None, tmp_path: Path) -> None:
    run(write(tmp_path / "orders.csv", row(StockCode="MUG", Quantity="500")))
    drive()
    assert Order.objects.get().status == "confirmed"
    assert shelf()["MUG"] == (100, 0)
    assert Product.objects.get(sku="MUG").price_minor == 1000


def test_orders_are_paid_as_asked(transactional_db: None, tmp_path: Path) -> None:
    said = run(write(tmp_path / "orders.csv", row()), "--payment-method", "tok_chargeDeclined")
    assert "Orders: 1 pending." in said
    drive()
    assert Order.objects.get().status == "rejected"
    assert shelf() == {"85123A": (6, 0)}
    assert "Orders: 1 rejected." in run(tmp_path / "orders.csv", "--payment-method", "tok_chargeDeclined")


def test_a_batch_costs_as_many_statements_with_forty_invoices_as_with_one(
    transactional_db: None, tmp_path: Path, django_assert_num_queries: Any
) -> None:
    with InvoiceFile(many(tmp_path / "many.csv", 41)) as file:
        invoices = [found for found in file if isinstance(found, Invoice)]
    for batch in (invoices[:1], invoices[1:]):
        # BEGIN and COMMIT, a savepoint and its release, and: products known, products new, products to order, orders,
        # lines, events, stock.
        with django_assert_num_queries(11):
            placing.place(batch, payment_method="tok_visa", now=timezone.now())


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"InvoiceNo": "C536379"}, "invoice C536379 is a cancellation; those are not imported yet"),
        ({"InvoiceNo": "c536379"}, "invoice c536379 is a cancellation; those are not imported yet"),
        ({"InvoiceNo": " "}, "InvoiceNo is empty"),
        ({"InvoiceNo": "53 6365"}, "InvoiceNo '53 6365' is not an invoice number"),
        ({"StockCode": ""}, "StockCode is empty"),
        ({"StockCode": "A" * 41}, f"StockCode '{'A' * 41}' is not a SKU"),
        ({"StockCode": "-A"}, "StockCode '-A' is not a SKU"),
        ({"Quantity": "-1"}, "Quantity -1 is not positive; returns are not imported yet"),
        ({"Quantity": "0"}, "Quantity 0 is not positive; returns are not imported yet"),
        ({"Quantity": "six"}, "Quantity 'six' is not a whole number"),
        ({"Quantity": "6.0"}, "Quantity '6.0' is not a whole number"),
        ({"Quantity": "٦"}, "Quantity '٦' is not a whole number"),
        ({"Quantity": ""}, "Quantity '' is not a whole number"),
        ({"Quantity": "1000001"}, "Quantity 1000001 is more than 1000000"),
        ({"UnitPrice": "0"}, "UnitPrice 0 is not positive"),
        ({"UnitPrice": "-2.55"}, "UnitPrice -2.55 is not positive"),
        ({"UnitPrice": "2,55"}, "UnitPrice '2,55' is not a number"),
        ({"UnitPrice": "NaN"}, "UnitPrice 'NaN' is not a number"),
        ({"UnitPrice": "1e3"}, "UnitPrice '1e3' is not a number"),
        ({"UnitPrice": ""}, "UnitPrice '' is not a number"),
        ({"UnitPrice": "0.001"}, "UnitPrice 0.001 has more than two decimals"),
        ({"UnitPrice": "99999999999999"}, "UnitPrice 99999999999999 is too large"),
        ({"UnitPrice": "9999999999"}, "invoice 536365: The total is too large."),
        ({"InvoiceDate": "2010-12-01"}, "InvoiceDate '2010-12-01' is not a date like 12-31-2010 08:26"),
        ({"InvoiceDate": "13-01-2010 08:26"}, "InvoiceDate '13-01-2010 08:26' is not a date like 12-31-2010 08:26"),
        ({"CustomerID": "ada"}, "CustomerID 'ada' is not a number"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason(
    transactional_db: None, tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    file = write(tmp_path / "orders.csv", row(**changes), row(InvoiceNo="536366"))
    assert "1 lines refused" in run(file)
    assert rejects(file) == [("2", reason)]
    assert [order.customer_email for order in Order.objects.all()] == ["customer-17850@example.com"]
    assert Order.objects.get().idempotency_key == "import:536366"
    assert shelf() == {"85123A": (6, 0)}


@pytest.mark.parametrize(
    "changes",
    [{"UnitPrice": "2.550"}, {"UnitPrice": " 2.55 "}, {"CustomerID": "17850.0"}, {"InvoiceDate": "12/1/2010 8:26"}],
)
def test_other_spellings_of_the_same_are_taken(transactional_db: None, tmp_path: Path, changes: dict[str, str]) -> None:
    run(write(tmp_path / "orders.csv", row(**changes)))
    order = Order.objects.get()
    assert (order.total_minor, order.customer_email) == (1530, "customer-17850@example.com")


def test_the_good_lines_of_an_invoice_are_placed_without_its_bad_ones(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(StockCode="A"), row(StockCode="B", UnitPrice="0"), row(StockCode="C"))
    run(file)
    assert rejects(file) == [("3", "UnitPrice 0 is not positive")]
    assert sorted(OrderLine.objects.values_list("sku", flat=True)) == ["A", "C"]
    assert sorted(shelf()) == ["A", "C"]


def test_an_invoice_of_two_customers_keeps_the_lines_of_the_first(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(), row(StockCode="B", CustomerID="1"), row(StockCode="C", CustomerID=""))
    run(file)
    assert rejects(file) == [
        ("3", "CustomerID 1 is not 17850, that of the invoice"),
        ("4", "CustomerID none is not 17850, that of the invoice"),
    ]
    assert OrderLine.objects.get().sku == "85123A"


def test_a_line_far_from_its_invoice_is_refused(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(), row(InvoiceNo="536366"), row(StockCode="B"))
    run(file)
    assert rejects(file) == [("4", "invoice 536365 ended further up; its lines must stand together")]
    assert Order.objects.count() == OrderLine.objects.count() == 2


def test_a_refused_line_in_between_does_not_tear_an_invoice_apart(transactional_db: None, tmp_path: Path) -> None:
    run(write(tmp_path / "orders.csv", row(), row(InvoiceNo="C1"), row(StockCode="B")))
    assert Order.objects.get().lines.count() == 2


def test_a_refused_invoice_does_not_hold_back_its_batch(transactional_db: None, tmp_path: Path) -> None:
    file = write(
        tmp_path / "orders.csv",
        row(InvoiceNo="1", StockCode="A"),
        row(InvoiceNo="2", StockCode="GONE"),
        row(InvoiceNo="2", StockCode="B"),
        row(InvoiceNo="3", StockCode="C"),
    )
    ProductFactory.create(sku="GONE", active=False)
    run(file)
    assert rejects(file) == [("3", why := "invoice 2: There is no product 'GONE'."), ("4", why)]
    assert [order.idempotency_key for order in Order.objects.order_by("id")] == ["import:1", "import:3"]
    assert shelf() == {"A": (6, 0), "C": (6, 0)}


def test_a_line_with_too_few_or_too_many_columns_is_refused(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row())
    with file.open("a") as more:
        more.write("536366,A\n\n536367,A,B,1,12-01-2010 08:26,1.00,17850,UK,more\n")
    run(file)
    assert rejects(file) == [
        ("3", "the line has 2 columns, the header 8"),
        ("5", "the line has 9 columns, the header 8"),
    ]


def test_line_numbers_are_those_of_an_editor(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(Description="two\nlines"), row(Quantity="0"))
    run(file)
    assert [line for line, _ in rejects(file)] == ["4"]
    assert Product.objects.get().name == "two lines"


def test_refused_lines_can_be_corrected_and_imported(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(InvoiceNo="1", Description='A "B", C', UnitPrice="0"), row(InvoiceNo="2"))
    run(file)
    corrected = file.with_name("orders.csv.rejects.csv")
    with corrected.open(newline="") as read:
        header, line = csv.reader(read)
    assert header == ["line", "reason", *COLUMNS]
    assert line[2:] == list(row(InvoiceNo="1", Description='A "B", C', UnitPrice="0").values())
    corrected.write_text(corrected.read_text().replace(",0,", ",5.00,"))
    run(corrected)
    assert sorted(Order.objects.values_list("idempotency_key", "total_minor")) == [
        ("import:1", 3000),
        ("import:2", 1530),
    ]


# The file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_the_encodings_of_spreadsheets_are_read(transactional_db: None, tmp_path: Path, encoding: str) -> None:
    said = run(write(tmp_path / "orders.csv", row(Description="CAFÉ CRÈME £5"), encoding=encoding))
    assert Product.objects.get().name == "CAFÉ CRÈME £5"
    assert ("read as Latin-1" in said) == (encoding == "latin-1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{file} does not exist."),
        (b"", "{file} is empty."),
        (b"InvoiceNo,StockCode\n1,2\n", "{file} lacks the columns Description, Quantity, InvoiceDate, UnitPrice, "),
        (b"PK\x03\x04\x00\x01\xff", "{file} lacks the columns InvoiceNo, "),
        ("InvoiceNo".encode("utf-16"), "{file} is UTF-16; save it as UTF-8."),
        (
            ",".join(COLUMNS).encode() + b'\n1,"' + b"x" * 200_000,
            "{file}, line 2: field larger than field limit (131072).",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(
    transactional_db: None, tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "orders.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandError) as error:
        run(file)
    assert str(error.value).startswith(message.format(file=file))
    assert "\n" not in str(error.value)
    assert Order.objects.count() == Product.objects.count() == 0


def test_a_folder_is_not_a_file(transactional_db: None, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not a file"):
        run(tmp_path)


def test_a_file_with_a_header_alone_places_nothing(transactional_db: None, tmp_path: Path) -> None:
    assert "Orders: none." in run(write(tmp_path / "orders.csv"), "--wait")


def test_an_unknown_way_to_pay_is_refused(transactional_db: None, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="'cash' is not a way to pay; one of tok_visa, "):
        run(write(tmp_path / "orders.csv", row()), "--payment-method", "cash")
    assert Order.objects.count() == 0


def test_refused_lines_go_where_they_can_be_written(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "orders.csv", row(Quantity="0"))
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "orders.csv.rejects.csv").mkdir()  # whoever runs the tests, root too, cannot write this
    assert "refused lines go to ./orders.csv.rejects.csv" in run(file)
    assert rejects(here / "orders.csv") == [("2", "Quantity 0 is not positive; returns are not imported yet")]
    assert f"1 lines refused: {tmp_path / 'mine.csv'}" in run(file, "--rejects", str(tmp_path / "mine.csv"))
    with pytest.raises(CommandError, match="cannot be written"):
        run(file, "--rejects", str(tmp_path / "none" / "mine.csv"))


def test_refused_lines_never_overwrite_the_file_itself(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row())
    before = file.read_bytes()
    with pytest.raises(CommandError, match="would overwrite"):
        run(file, "--rejects", str(file))
    assert file.read_bytes() == before


VALUES = st.text(max_size=8) | st.sampled_from(
    [*GOOD.values(), "C1", "-1", "0", "1e9", "NaN", "'", '"', "\x00", "\r", ";"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(VALUES, min_size=7, max_size=9), max_size=5),
    raw=st.binary(max_size=60),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_whatever_a_file_holds_each_line_is_placed_or_refused(
    transactional_db: None, tmp_path: Path, rows: list[list[str]], raw: bytes, quoting: Any
) -> None:
    file = tmp_path / "orders.csv"
    with file.open("w", newline="", errors="ignore") as written:
        csv.writer(written).writerow(COLUMNS)
        csv.writer(written, quoting=quoting).writerows(rows)
    with file.open("ab") as more:
        more.write(raw)
    with suppress(CommandError):  # a stray quote can make the rest unreadable, in one clear line
        run(file)


# Again, and again ------------------------------------------------------------------------------------------------


def test_a_second_import_places_nothing(transactional_db: None, tmp_path: Path) -> None:
    file = many(tmp_path / "many.csv", 60)
    assert "60 orders placed" in run(file)
    said = run(file)
    assert "0 orders placed" in said
    assert "60 stood already" in said
    assert_complete(60)


def test_an_invoice_that_changed_since_is_refused(transactional_db: None, tmp_path: Path) -> None:
    run(write(tmp_path / "orders.csv", row(InvoiceNo="1"), row(InvoiceNo="2")))
    file = write(tmp_path / "orders.csv", row(InvoiceNo="1", Quantity="7"), row(InvoiceNo="2"), row(InvoiceNo="3"))
    said = run(file)
    assert "1 orders placed" in said
    assert "1 stood already" in said
    assert rejects(file) == [("2", "invoice 1 was imported before, with other contents")]
    assert shelf() == {"85123A": (18, 0)}


def test_two_imports_at_the_same_moment_place_each_invoice_once(transactional_db: None, tmp_path: Path) -> None:
    file = many(tmp_path / "many.csv", 200)
    barrier, said = threading.Barrier(3), []

    def import_it(number: int) -> None:
        barrier.wait()
        said.append(run(file, "--rejects", str(tmp_path / f"{number}.csv")))
        connections.close_all()

    threads = [threading.Thread(target=import_it, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 3
    assert_complete(200)


def test_a_killed_import_goes_on_where_it_stopped(transactional_db: None, tmp_path: Path) -> None:
    file = many(tmp_path / "many.csv", 3000)
    importing = subprocess.Popen(
        [sys.executable, "manage.py", "import_orders", str(file)],
        cwd=ROOT,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
            "TEST_DATABASE": connection.settings_dict["NAME"],
            "TEST_MAIL": str(tmp_path),
        },
        stdout=subprocess.DEVNULL,
    )
    wait_for(Order.objects.exists)
    importing.kill()
    assert importing.wait() == -signal.SIGKILL
    # What the server was told before the kill may commit after it.
    placed = wait_for(_settled_count)
    assert 0 < placed < 3000
    assert StockItem.objects.aggregate(total=Sum("on_hand"))["total"] == 6 * placed
    said = run(file)
    assert f"{3000 - placed} orders placed" in said
    assert f"{placed} stood already" in said
    assert_complete(3000)


def _settled_count() -> int:
    """Return how many orders there are once nobody else is connected."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        (busy,) = cursor.fetchone() or (0,)
    return 0 if busy else Order.objects.count()


# Waiting ---------------------------------------------------------------------------------------------------------


def test_waiting_gives_up_when_nothing_moves(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "GIVE_UP_AFTER_SECONDS", 0.0)
    with pytest.raises(CommandError, match="gave up waiting: 1 orders are under way and nothing moved"):
        run(write(tmp_path / "orders.csv", row()), "--wait")
    assert Order.objects.get().status == "pending"


def test_nobody_waits_for_an_order_that_needs_a_person(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row())
    run(file)
    relay_events(now=timezone.now(), limit=10)
    Run.objects.update(
        status="needs_attention",
        resumes_as="running",
        stopped_at=timezone.now(),
        attention={"step": "x", "kind": "y", "error": "z", "message": "m"},
    )
    said = run(file, "--wait")
    assert "Orders: 1 pending." in said
    assert "1 of them need a person: see the admin." in said
