"""A file of the real shape, imported with real workers to the last confirmed order."""

import csv
import random
from io import StringIO
from pathlib import Path

from django.core.management import call_command
from django.db.models import Sum

from inventory.models import StockItem
from orders.models import Order
from payments.models import Payment
from shop.importing.reading import COLUMNS
from tests.conftest import Processes


def write_invoices(path: Path, *, good: int) -> int:
    """Write invoices as shops export them, dirt included; return what the good lines cost together, in pence."""
    dice = random.Random(536365)
    total = 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(536365, 536365 + good):
            customer = dice.choice(["17850", "13047", ""])
            for _ in range(dice.choice([1, 2, 5, 20])):
                quantity, pence = dice.randint(1, 24), dice.choice([85, 255, 339, 1695])
                total += quantity * pence
                sku, price = f"{dice.randint(20000, 20039)}A", f"{pence / 100:.2f}"
                moment, country = "12-01-2010 08:26", "United Kingdom"
                writer.writerow([number, sku, f"THING {sku}", quantity, moment, price, customer, country])
            writer.writerow([number, "22139", "", 3, "12-01-2010 08:26", "0.0", customer, "United Kingdom"])
            writer.writerow([f"C{number}", "D", "Discount", -1, "12-01-2010 08:26", "27.5", customer, "United Kingdom"])
    return total


def test_every_good_invoice_ends_confirmed_and_the_money_adds_up(processes: Processes, tmp_path: Path) -> None:
    processes.worker()
    processes.beat()
    total = write_invoices(file := tmp_path / "invoices.csv", good=40)
    call_command("import_orders", str(file), "--wait", stdout=(out := StringIO()))

    said = out.getvalue()
    assert "40 orders placed" in said
    assert "80 lines refused" in said
    assert "Orders: 40 confirmed." in said
    assert "All decided after" in said
    assert Order.objects.filter(status="confirmed").aggregate(total=Sum("total_minor"))["total"] == total
    assert Payment.objects.filter(status="captured").aggregate(total=Sum("amount_minor"))["total"] == total
    assert not StockItem.objects.exclude(on_hand=0, reserved=0).exists()
    assert StockItem.objects.count() > 30

    call_command("import_orders", str(file), "--wait", stdout=(out := StringIO()))
    assert "0 orders placed" in out.getvalue()
    assert "40 stood already" in out.getvalue()
    assert Order.objects.count() == 40
