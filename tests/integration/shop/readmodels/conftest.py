"""A history of orders of each kind, and what the tables of the contexts say was sold."""

from collections import Counter, defaultdict
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from redis import Redis

from orders.models import Order, OrderLine
from sagas.core import registry
from sagas.core.read_model import ReadModel
from sagas.log import followers
from sagas.log.read_models import follow
from sagas.testing import MovableClock, drive
from shop.models import CustomerOrder, SalesOfDay
from tests.factories.orders import Place


@pytest.fixture(autouse=True)
def _followers(redis: Redis, transactional_db: None) -> None:
    followers.create_missing(now=timezone.now())


def take_in(limit: int = 500) -> None:
    while follow(limit=limit):
        pass


def model(name: str) -> ReadModel:
    found = registry.read_model(name)
    assert found is not None
    return found


@pytest.fixture
def history(place: Place) -> list[Order]:
    """Orders of each kind, each at its end."""
    clock = MovableClock()
    methods = ["tok_visa", "tok_chargeDeclined", "tok_visa", "tok_flaky", "invoice", "tok_visa"]
    placed = [place(method, now=clock()) for method in methods]
    placed.append(place(lines=(("LAMP", 101),), now=clock()))
    placed.append(place(lines=(("LAMP", 2), ("MUG", 1)), now=clock()))
    for _ in range(5):
        drive(now=clock)
        clock.move(minutes=1)
    return placed


def sold() -> dict[tuple[Any, ...], tuple[int, int, int]]:
    return {
        (row.day, row.sku, row.currency): (row.orders, row.quantity, row.total_minor)
        for row in SalesOfDay.objects.all()
    }


def truly_sold() -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """Return what the tables of the orders say was sold."""
    figures: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for line in OrderLine.objects.filter(order__status="confirmed").select_related("order"):
        assert line.order.decided_at is not None
        figures[timezone.localdate(line.order.decided_at), line.sku, line.order.currency].update(
            orders=1, quantity=line.quantity, total=line.quantity * line.unit_price_minor
        )
    return {key: (one["orders"], one["quantity"], one["total"]) for key, one in figures.items()}


def listed() -> set[tuple[Any, ...]]:
    return set(CustomerOrder.objects.values_list("order_id", "number", "status", "reason", "total_minor", "placed_at"))


def truly_listed() -> set[tuple[Any, ...]]:
    return set(Order.objects.values_list("id", "number", "status", "reason", "total_minor", "placed_at"))


def rebuilt(name: str, *options: str) -> str:
    call_command("readmodels", "rebuild", name, *options, stdout=(out := StringIO()))
    return out.getvalue()
