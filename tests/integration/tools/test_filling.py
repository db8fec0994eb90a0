"""What the benchmarks fill a database with is what the engine would have left there."""

import pytest
from django.db import connection
from django.utils import timezone

from benchmarks import pages
from benchmarks.filling import fill
from orders.models import Order
from sagas.books.reconciliation import reconcile
from sagas.core import registry
from sagas.models import Event, Finding, Reconciliation, Run
from sagas.testing import drive
from shop.story.standing import standing
from shop.story.timeline import timeline
from tests.factories.orders import Place

pytestmark = pytest.mark.usefixtures("transactional_db")

#: One order of each kind is really placed, and the others made after it.
MODELS = 7


def filled(orders: int, events: int) -> None:
    fill(orders=orders, events=events, show=lambda _: None)


def test_the_books_of_filled_orders_balance() -> None:
    filled(500, 5000)
    for _ in range(5):  # 500 payments and reservations are looked at, 200 a turn
        reconcile(now=timezone.now(), checks=registry.checks(), walks=registry.walks())
    assert Reconciliation.objects.get().turn == 5
    assert list(Finding.objects.values_list("check_name", "message")) == []


def test_so_many_are_filled_as_were_asked_for() -> None:
    filled(200, 1650)
    models = list(Order.objects.filter(customer_email="model@filling.example").values_list("id", flat=True))
    assert len(models) == MODELS
    assert Order.objects.exclude(id__in=models).count() == 200
    assert Event.objects.exclude(key__in=[str(pk) for pk in models]).count() == 1650
    shares = {status: Order.objects.exclude(id__in=models).filter(status=status).count() for status in Order.Status}
    assert shares == {"pending": 0, "confirmed": 182, "rejected": 14, "cancelled": 4}


def test_filled_orders_look_like_those_they_were_made_after() -> None:
    filled(100, 700)
    models = Order.objects.filter(customer_email="model@filling.example")
    made = Order.objects.exclude(customer_email="model@filling.example")
    assert {_story(order) for order in made} == {_story(order) for order in models}
    assert not any(standing(order.id, now=timezone.now()).live for order in made)


def _story(order: Order) -> tuple[str, ...]:
    """Return what happened to it; what happened once more is left out."""
    return tuple(dict.fromkeys(f"{entry.kind} {entry.title} {entry.status}" for entry in timeline(order.id)))


def test_every_page_there_is_answers_beside_filled_orders() -> None:
    filled(100, 700)
    asked = {page.name: page.statements for page in pages._ask(times=0)}
    assert len(asked) > 150
    assert max(asked.values()) < 30


def test_orders_are_placed_and_driven_beside_filled_ones(place: Place) -> None:
    filled(100, 700)
    order = place()
    drive()
    order.refresh_from_db()
    assert order.status == Order.Status.CONFIRMED
    assert Run.objects.exclude(status__in=("completed", "undone")).count() == 0
    assert order.number == max(Order.objects.values_list("number", flat=True))


def test_ids_are_in_the_order_of_time() -> None:
    filled(100, 700)
    made = Order.objects.exclude(customer_email="model@filling.example")
    assert list(made.order_by("id")) == list(made.order_by("placed_at"))
    positions = Event.objects.filter(key__in=[str(order.id) for order in made]).order_by("position")
    times = list(positions.values_list("occurred_at", flat=True))
    assert times == sorted(times)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sagas_run WHERE uuid_extract_version(id) <> 7")
        assert cursor.fetchall() == [(0,)]


def test_too_few_events_are_refused() -> None:
    with pytest.raises(ValueError, match="an order tells of up to 7 events: 700 at least, not 699"):
        filled(100, 699)
    assert not Order.objects.exclude(customer_email="model@filling.example").exists()
