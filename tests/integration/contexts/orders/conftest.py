"""A catalogue, and orders placed from it at a fixed moment."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orders import services as orders
from orders.models import Order, OrderLine
from orders.services import LineRequest, OrderRequest
from sagas.models import Event
from tests.factories.orders import OrderRequestFactory
from tests.factories.products import fill_catalogue

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PRICES = {"MUG": 1000, "TRAY": 2500, "LAMP": 5000}


@pytest.fixture
def catalogue(db: None) -> None:
    fill_catalogue()


@pytest.fixture
def committed_catalogue(transactional_db: None) -> None:
    fill_catalogue()


def request(*lines: LineRequest, **more: Any) -> OrderRequest:
    return OrderRequestFactory.build(**({"lines": lines} if lines else {}) | more)


def place(*lines: LineRequest, **more: Any) -> Order:
    return place_all(request(*lines, **more))[0]


def place_all(*requests: OrderRequest) -> list[Order]:
    return [placed.order for placed in orders.place_many(requests, now=NOW)]


def written() -> tuple[int, int, int]:
    return Order.objects.count(), OrderLine.objects.count(), Event.objects.count()
