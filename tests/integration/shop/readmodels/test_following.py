"""Read models follow the log exactly once, and stop in front of what they cannot read."""

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from sagas.log.read_models import follow
from sagas.models import Event, Follower
from sagas.operations import queries
from sagas.testing import drive
from shop.models import CustomerOrder, SalesOfDay
from tests.concurrency import at_once
from tests.factories.orders import Place

from .conftest import listed, sold, take_in, truly_listed, truly_sold

pytestmark = pytest.mark.usefixtures("longest_pauses")


# Following -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_read_models_say_what_the_tables_of_the_contexts_say(history: list[Order], limit: int) -> None:
    take_in(limit)
    assert sold() == truly_sold()
    assert len(sold()) >= 2
    assert listed() == truly_listed()
    shipped = CustomerOrder.objects.get(order_id=history[0].id)
    assert shipped.paid
    assert shipped.tracking_number.startswith("PX")
    assert shipped.told_at is not None
    assert shipped.contents == "2 x Mug"
    declined = CustomerOrder.objects.get(order_id=history[1].id)
    assert (declined.paid, declined.tracking_number) == (False, "")


def test_what_is_taken_in_and_how_far_that_is_commit_together(
    history: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Follower.save

    def die(self: Follower, *args: Any, **kwargs: Any) -> None:
        if self.name == "sales-by-day":
            raise OperationalError("the server goes away")
        saved(self, *args, **kwargs)

    monkeypatch.setattr(Follower, "save", die)
    with pytest.raises(OperationalError):
        follow()
    assert not SalesOfDay.objects.exists()
    monkeypatch.undo()
    take_in()
    take_in()
    assert sold() == truly_sold()


def test_two_that_follow_at_the_same_moment_count_nothing_twice(history: list[Order]) -> None:
    at_once(take_in, take_in, take_in)
    take_in()
    assert sold() == truly_sold()
    assert listed() == truly_listed()


def test_a_turn_costs_the_same_for_one_event_and_for_many(place: Place) -> None:
    costs = []
    for count in (1, 30):
        for _ in range(count):
            place()
        drive()
        with CaptureQueriesContext(connection) as made:
            follow()
        costs.append(len(made))
    assert costs[0] == costs[1]


def test_what_cannot_be_read_stops_one_read_model_in_front_of_it_until_code_can(
    history: list[Order], place: Place
) -> None:
    bad = Event.objects.filter(type="orders.order_rejected").earliest("log_position")
    assert bad.log_position is not None
    data = bad.data
    Event.objects.filter(pk=bad.pk).update(data={"nonsense": True})
    take_in()
    stopped = {lag.name: lag for lag in queries.followers(now=timezone.now())}["order-list"]
    assert (stopped.status, Follower.objects.get(name="order-list").position) == ("stopped", bad.log_position - 1)
    assert f"at {bad.log_position}: ValidationError" in stopped.error
    assert sold() == truly_sold(), "others go on"
    Event.objects.filter(pk=bad.pk).update(data=data)
    take_in()
    assert listed() == truly_listed()
    assert Follower.objects.get(name="order-list").error == ""


def test_a_paused_read_model_stands_still(history: list[Order]) -> None:
    Follower.objects.filter(name="order-list").update(paused_at=timezone.now())
    take_in()
    assert not CustomerOrder.objects.exists()
    Follower.objects.filter(name="order-list").update(paused_at=None)
    take_in()
    assert listed() == truly_listed()
