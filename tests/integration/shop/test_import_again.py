"""Imported again: repeated, corrected, side by side, after a kill; nothing is placed or received twice."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import Sum
from django.utils import timezone

from inventory.models import StockItem
from orders.models import Order, Product
from sagas.models import Event
from shop.importing import placing
from shop.importing.reading import Invoice, InvoiceFile
from tests.asking import shelf
from tests.conftest import ROOT, wait_for
from tests.factories.products import ProductFactory
from tests.invoices import (
    assert_complete,
    cup,
    many,
    placed_lines,
    rejects,
    rejects_file,
    row,
    run,
    write,
    write_lines,
)


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
    assert rejects(file) == [("2", "invoice 1: imported before with another quantity or price of 85123A")]
    assert shelf() == {"85123A": (18, 0)}


def test_two_imports_at_the_same_moment_place_each_invoice_once(transactional_db: None, tmp_path: Path) -> None:
    assert len(run_at_once([many(tmp_path / "many.csv", 200)] * 3)) == 3
    assert_complete(200)


def run_at_once(files: Sequence[Path]) -> list[str]:
    barrier, said = threading.Barrier(len(files)), []

    def import_it(number: int) -> None:
        barrier.wait()
        said.append(run(files[number], "--rejects", str(files[number].with_name(f"{number}.csv"))))
        connections.close_all()

    threads = [threading.Thread(target=import_it, args=[number]) for number in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


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


# Refused lines, corrected ----------------------------------------------------------------------------------------

REFUSED = (
    "840001,RJ-1,Cup,1,12-31-2010 08:26,3.95,17850,UK",
    '840001,RJ-2,Saucer,1,12-31-2010 08:26,"2,50",17850,UK',
)
CORRECTED = REFUSED[1].replace('"2,50"', "2.50")
FIRST, SECOND = ("import:840001", "RJ-1", 1, 395), ("import:840001 2", "RJ-2", 1, 250)


def assert_placed_once(expected: list[tuple[str, str, int, int]]) -> None:
    assert placed_lines() == expected
    assert Order.objects.count() == Event.objects.filter(type="orders.order_placed").count()
    needed = StockItem.objects.aggregate(total=Sum("on_hand"))["total"]
    assert needed == sum(quantity for _, _, quantity, _ in expected)


def test_a_corrected_line_alone_becomes_one_more_order_of_its_invoice(transactional_db: None, tmp_path: Path) -> None:
    original = write_lines(tmp_path / "orders.csv", *REFUSED)
    alone = write_lines(tmp_path / "alone.csv", CORRECTED)
    whole = write_lines(tmp_path / "whole.csv", REFUSED[0], CORRECTED)
    run(original)
    assert rejects(original) == [("3", "UnitPrice '2,50' has a comma; write it like 1234.50")]
    assert_placed_once([FIRST])
    assert "1 orders placed" in run(alone)
    assert_placed_once([FIRST, SECOND])
    assert "0 orders placed" in run(alone)
    assert "2 stood already" in run(whole)
    assert "1 stood already" in run(original)
    assert rejects(original) == [("3", "UnitPrice '2,50' has a comma; write it like 1234.50")]
    assert rejects(alone) == rejects(whole) == []
    assert_placed_once([FIRST, SECOND])


def test_the_whole_file_corrected_places_what_was_refused(transactional_db: None, tmp_path: Path) -> None:
    run(write_lines(tmp_path / "orders.csv", *REFUSED, cup(1)))
    whole = write_lines(tmp_path / "whole.csv", CORRECTED, REFUSED[0], cup(1))
    said = run(whole)
    assert "1 orders placed" in said
    assert "2 stood already" in said
    assert "3 lines are in these orders, 0 are blank." in said
    assert "0 lines refused" in said
    assert "0 orders placed" in run(write_lines(tmp_path / "alone.csv", CORRECTED))
    assert_placed_once([("import:830001", "UQ-1", 1, 395), FIRST, SECOND])


def test_the_file_of_refused_lines_is_corrected_and_imported(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(InvoiceNo="1", Description='A "B", C', UnitPrice="0"), row(InvoiceNo="2"))
    run(file)
    corrected = rejects_file(file)
    header, line = corrected.read_text().splitlines()
    assert header == "line,reason,InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    assert line.endswith(',1,85123A,"A ""B"", C",6,12-01-2010 08:26,0,17850,United Kingdom')
    corrected.write_text(corrected.read_text().replace(",0,", ",5.00,"))
    for _ in range(2):
        run(corrected)
        assert_placed_once([("import:2", "85123A", 6, 255), ("import:1", "85123A", 6, 500)])


def test_lines_are_corrected_one_after_the_other(transactional_db: None, tmp_path: Path) -> None:
    good = [row(StockCode=sku) for sku in "ABC"]
    bad = [row(StockCode=sku, Quantity="six") for sku in "ABC"]
    run(write(tmp_path / "1.csv", good[0], bad[1], bad[2]))
    run(write(tmp_path / "2.csv", bad[1], good[2]))
    said = run(write(tmp_path / "3.csv", good[0], good[1], bad[2]))  # C was corrected elsewhere and stands
    assert "1 orders placed" in said
    run(write(tmp_path / "4.csv", *good))
    key = "import:536365"
    assert_placed_once([(key, "A", 6, 255), (f"{key} 2", "C", 6, 255), (f"{key} 3", "B", 6, 255)])


def test_all_lines_of_a_sku_are_refused_with_one_of_them(transactional_db: None, tmp_path: Path) -> None:
    lines = [row(StockCode="A"), row(StockCode="B"), row(StockCode="A", UnitPrice="0"), row(StockCode="A")]
    run(file := write(tmp_path / "orders.csv", *lines))
    together = "another line of A on invoice 536365 is refused; correct both"
    assert rejects(file) == [
        ("4", "UnitPrice 0 is not positive; free lines and discounts are not imported"),
        ("2", together),
        ("5", together),
    ]
    corrected = rejects_file(file)
    corrected.write_text(corrected.read_text().replace(",0,", ",2.55,"))
    for _ in range(2):
        run(corrected)
        assert_placed_once([("import:536365", "B", 6, 255), ("import:536365 2", "A", 18, 255)])


def test_lines_far_from_their_invoice_are_placed_from_the_refused_ones(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(StockCode="A"), row(InvoiceNo="1"), row(StockCode="B"))
    for _ in range(2):
        run(file)
        assert rejects(file) == [("4", "invoice 536365 ended further up; its lines must stand together")]
        run(rejects_file(file))
        assert_placed_once(
            [("import:1", "85123A", 6, 255), ("import:536365", "A", 6, 255), ("import:536365 2", "B", 6, 255)]
        )


@pytest.mark.parametrize(
    ("again", "arguments", "why"),
    [
        ([row(StockCode="A", UnitPrice="2.56"), row(StockCode="B")], (), "with another quantity or price of A"),
        ([row(StockCode="A"), row(StockCode="B"), row(StockCode="B")], (), "with another quantity or price of B"),
        (
            [row(StockCode="A"), row(StockCode="C")],
            (),
            "with B; import it whole, or only the lines that were refused",
        ),
        ([row(StockCode="A", CustomerID="1"), row(StockCode="C", CustomerID="1")], (), "for another customer"),
        ([row(StockCode="C", CustomerID="")], (), "for another customer"),
        ([row(StockCode="C")], ("--payment-method", "invoice"), "to be paid by tok_visa"),
    ],
)
def test_an_invoice_that_contradicts_its_order_is_refused_whole(
    transactional_db: None, tmp_path: Path, again: list[dict[str, str]], arguments: tuple[str, ...], why: str
) -> None:
    run(write(tmp_path / "orders.csv", row(StockCode="A"), row(StockCode="B")))
    said = run(file := write(tmp_path / "orders.csv", *again), *arguments)
    assert "0 orders placed" in said
    assert rejects(file) == [(str(2 + place), f"invoice 536365: imported before {why}") for place in range(len(again))]
    assert_placed_once([("import:536365", "A", 6, 255), ("import:536365", "B", 6, 255)])
    assert set(Product.objects.values_list("sku", flat=True)) == {"A", "B"}


def test_a_corrected_line_that_is_refused_again_leaves_the_standing_ones(
    transactional_db: None, tmp_path: Path
) -> None:
    ProductFactory.create(sku="GONE", active=False)
    run(write(tmp_path / "orders.csv", row(StockCode="A")))
    said = run(file := write(tmp_path / "orders.csv", row(StockCode="A"), row(StockCode="GONE")))
    assert "0 orders placed" in said
    assert "1 lines are in these orders" in said
    assert rejects(file) == [("3", "invoice 536365: There is no product 'GONE'.")]
    assert_placed_once([("import:536365", "A", 6, 255)])


def test_the_line_alone_and_the_whole_file_at_the_same_moment_place_it_once(
    transactional_db: None, tmp_path: Path
) -> None:
    first = [row(InvoiceNo=str(number), StockCode="A") for number in range(100)]
    second = [row(InvoiceNo=str(number), StockCode="B") for number in range(100)]
    whole = [line for pair in zip(first, second, strict=True) for line in pair]
    contents = [first, second[::-1], whole, whole]  # also in another order
    files = [write(tmp_path / f"{place}-in.csv", *lines) for place, lines in enumerate(contents)]
    said = run_at_once(files)
    assert len(said) == 4
    assert sum(int(re.findall(r"(\d+) orders placed", text)[0]) for text in said) == Order.objects.count()
    assert sorted((key.split()[0], sku) for key, sku, _, _ in placed_lines()) == sorted(
        (f"import:{number}", sku) for number in range(100) for sku in "AB"
    )
    assert shelf() == {"A": (600, 0), "B": (600, 0)}


def test_a_repeat_costs_as_many_statements_for_forty_invoices_as_for_one(
    transactional_db: None, tmp_path: Path, django_assert_num_queries: Any
) -> None:
    file = many(tmp_path / "many.csv", 41)
    run(file)
    with InvoiceFile(file) as read:
        invoices = [found for found in read if isinstance(found, Invoice)]
    for batch in (invoices[:1], invoices[1:]):
        with django_assert_num_queries(3):  # first orders, their lines, second orders
            placing.place(batch, payment_method="tok_visa", now=timezone.now())
