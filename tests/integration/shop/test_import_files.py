"""Files as programs write them: encodings, separators, quotes; each line is read or refused by name."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders.models import Order, Product
from shop.importing.reading import COLUMNS, InvoiceFile, Reject
from tests.invoices import GOOD, cup, placed_lines, rejects, rejects_file, row, run, write, write_lines

QUOTES = 'a quoted field is not closed, or has a single " inside, which is written ""'


def assert_balanced(said: str, file: Path) -> None:
    """See that each line read is in an order, refused by name, or blank."""
    read, placed, blank, refused = (
        int(re.findall(rf"(\d+) {what}", said)[0])
        for what in ("lines read", "lines are in these orders", "are blank", "lines refused")
    )
    assert read == placed + blank + refused
    assert refused == len(rejects(file))


# Quotes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late", "name"),
    [
        (cup(7), "Cup"),
        (cup(7, '"8in ""BOWL"""'), '8in "BOWL"'),
        (cup(7, 'BOWL 8"'), 'BOWL 8"'),  # ends the field that line 4 opens, as if all between were one name
    ],
)
def test_an_open_quote_costs_its_own_line_only(transactional_db: None, tmp_path: Path, late: str, name: str) -> None:
    lines = [cup(number) for number in range(1, 10)]
    lines[2], lines[6] = cup(3, '"8in DISH'), late
    said = run(file := write_lines(tmp_path / "orders.csv", *lines))
    assert rejects(file) == [("4", QUOTES)]
    assert_balanced(said, file)
    good = [1, 2, 4, 5, 6, 7, 8, 9]
    assert placed_lines() == [(f"import:{830000 + number}", f"UQ-{number}", 1, 395) for number in good]
    names = dict(Product.objects.values_list("sku", "name"))
    assert names == {f"UQ-{number}": "Cup" for number in good} | {"UQ-7": name}


def test_a_refused_open_quote_is_written_so_that_it_can_be_imported(transactional_db: None, tmp_path: Path) -> None:
    run(file := write_lines(tmp_path / "orders.csv", cup(1, '"8in DISH'), cup(2)))
    run(rejects_file(file))
    assert dict(Product.objects.values_list("sku", "name")) == {"UQ-1": '"8in DISH', "UQ-2": "Cup"}


def test_an_open_quote_that_a_broken_line_closes_costs_no_more_than_these_lines(
    transactional_db: None, tmp_path: Path
) -> None:
    run(file := write_lines(tmp_path / "orders.csv", cup(1, '"8in DISH'), "", '830002,UQ-2",1', cup(3)))
    assert rejects(file) == [("2", QUOTES), ("4", "the line has 3 columns, the header 8")]
    assert placed_lines() == [("import:830003", "UQ-3", 1, 395)]


def test_a_quote_inside_quotes_that_is_not_doubled_is_refused(transactional_db: None, tmp_path: Path) -> None:
    run(file := write_lines(tmp_path / "orders.csv", cup(1, '"12" PLATE"'), cup(2)))
    assert rejects(file) == [("2", QUOTES)]
    assert placed_lines() == [("import:830002", "UQ-2", 1, 395)]


def test_a_line_of_a_megabyte_is_refused_alone(transactional_db: None, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "orders.csv", cup(1, "x" * 1_000_000), cup(2, '"' + "x\r\n" * 70_000), cup(3))
    run(file)
    assert rejects(file)[:2] == [("2", "the line is longer than 131072 characters"), ("3", QUOTES)]
    assert placed_lines() == [("import:830003", "UQ-3", 1, 395)]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(typed=st.lists(st.tuples(st.integers(0, 60), st.text('a "",', max_size=4)), max_size=8))
def test_whatever_quotes_lines_hold_each_is_read_or_refused_alone(tmp_path: Path, typed: list[tuple[int, str]]) -> None:
    lines = [cup(number)[:place] + text + cup(number)[place:] for number, (place, text) in enumerate(typed)]
    file = write_lines(tmp_path / "orders.csv", *lines)
    told: list[int] = []
    with InvoiceFile(file) as read:
        for found in read:
            told += [found.line] if isinstance(found, Reject) else [line.line for line in found.lines]
    assert sorted(told) == list(range(2, 2 + len(lines)))


# Encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_the_letters_are_those_that_were_typed(transactional_db: None, tmp_path: Path, encoding: str) -> None:
    typed = "CAFÉ “ŠŒ” £5 €6 – ½"  # noqa: RUF001 - the dash is one of the letters that Latin-1 lacks
    said = run(write(tmp_path / "orders.csv", row(Description=typed), encoding=encoding))
    assert Product.objects.get().name == typed
    assert ("read as Windows-1252" in said) == (encoding == "cp1252")


@pytest.mark.parametrize(("letter", "name"), [("é", "UTF-8"), ("", "Windows-1252")])
def test_bytes_that_are_no_letters_are_refused_by_line(
    transactional_db: None, tmp_path: Path, letter: str, name: str
) -> None:
    file = write_lines(tmp_path / "orders.csv", cup(1, f"Touch{letter}"), cup(2, "Touch@"), cup(3))
    file.write_bytes(file.read_bytes().replace(b"@", b"\x81"))
    why = f"some letters cannot be read as {name} and are replaced by U+FFFD"
    run(file)
    assert rejects(file) == [("3", why)]
    unchanged = rejects_file(file)
    run(unchanged)
    assert rejects(unchanged) == [("2", why.replace("Windows-1252", "UTF-8"))]
    assert Product.objects.count() == Order.objects.count() == 2
    unchanged.write_text(unchanged.read_text().replace("Touch\ufffd", "Touché"))
    run(unchanged)
    assert Product.objects.get(sku="UQ-2").name == "Touché"


# Separators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("separator", "before"),
    [(";", b""), ("\t", b""), ("|", b""), (";", b"sep=;\r\n"), (";", b'"SEP=;"\n'), ("^", b"sep=^\n"), (",", b"\r\n")],
)
def test_other_separators_are_read(transactional_db: None, tmp_path: Path, separator: str, before: bytes) -> None:
    german = row(Description="Becher, blau; 2|", InvoiceDate="31.12.2010 08:26", UnitPrice="2.50")
    file = write(tmp_path / "orders.csv", german, row(Quantity="0", StockCode="B"), separator=separator)
    file.write_bytes(before + file.read_bytes())
    run(file)
    assert placed_lines() == [("import:536365", "85123A", 6, 250)]
    assert Product.objects.get().name == "Becher, blau; 2|"
    line = 3 + len(before.splitlines())
    assert rejects(file, separator) == [(str(line), "Quantity 0 is not positive; returns are not imported yet")]


@pytest.mark.parametrize(
    ("price", "minor"), [("3,95", 395), ("3.95", 395), ("4", 400), ("1,200", 0), ("1.200", 0), ("1.234,50", 0)]
)
def test_a_price_between_semicolons_may_have_a_decimal_comma(
    transactional_db: None, tmp_path: Path, price: str, minor: int
) -> None:
    run(file := write(tmp_path / "orders.csv", row(UnitPrice=price), separator=";"))
    assert placed_lines() == ([("import:536365", "85123A", 6, minor)] if minor else [])
    refused = [] if minor else [("2", f"UnitPrice {price!r} is not a number like 1234.50")]
    assert rejects(file, ";") == refused


def test_refused_lines_keep_the_separator_of_their_file(transactional_db: None, tmp_path: Path) -> None:
    run(file := write(tmp_path / "orders.csv", row(UnitPrice="3,95", Quantity="six"), separator=";"))
    corrected = rejects_file(file)
    corrected.write_text(corrected.read_text().replace(";six;", ";6;"))
    run(corrected)
    assert placed_lines() == [("import:536365", "85123A", 6, 395)]


# The file as a whole ---------------------------------------------------------------------------------------------


def test_blank_lines_are_counted(transactional_db: None, tmp_path: Path) -> None:
    said = run(write_lines(tmp_path / "orders.csv", "", cup(1), "", "", cup(2, price="free")))
    assert "5 lines read" in said
    assert "1 lines are in these orders, 3 are blank." in said
    assert "1 lines refused" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{file} does not exist."),
        (b"", "{file} is empty."),
        (b"InvoiceNo,StockCode\n1,2\n", "{file} lacks the columns Description, Quantity, InvoiceDate, UnitPrice, "),
        (b"PK\x03\x04\x00\x01\xff", "{file} lacks the columns InvoiceNo, "),
        ("InvoiceNo".encode("utf-16"), "{file} is UTF-16; save it as UTF-8."),
        (
            b"InvoiceNo;StockCode;Description;Quantity;InvoiceDate;Unit,Price\n",
            "{file} lacks the columns UnitPrice, CustomerID, Country. The separator found is the semicolon",
        ),
        (b"sep=^\nInvoiceNo,StockCode\n", "{file} lacks the columns InvoiceNo, "),
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
    assert_balanced(run(file), file)
