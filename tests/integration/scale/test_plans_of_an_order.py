"""An order costs the same beside much that is over: no statement on its way reads a growing table from end to end."""

import pytest
from django.utils import timezone

from benchmarks.filling import fill
from inventory import services as inventory
from orders import services as orders
from orders.models import Order
from sagas.core.statuses import Action
from sagas.log.relay import relay_events
from sagas.models import Run
from sagas.operations import interventions
from sagas.testing import drive, run_chain
from shop.story.timeline import story
from tests.plans import explained

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture
def history(transactional_db: None) -> None:
    fill(orders=4000, events=40_000, show=lambda _: None)


def place(method: str) -> Order:
    inventory.receive({"FILL-0000": 1})
    return orders.place(
        customer_email="ada@example.com",
        customer_name="Ada Lovelace",
        payment_method=method,
        lines=[orders.LineRequest(sku="FILL-0000", quantity=1)],
        now=timezone.now(),
    )


@pytest.mark.usefixtures("history")
def test_no_statement_on_the_way_of_an_order_reads_a_whole_table() -> None:
    with explained() as plans:
        for method in ("tok_visa", "tok_chargeDeclined", "tok_flaky", "tok_lostReply"):
            story(place(method).id, now=timezone.now())
            drive()
    assert len(plans.explained) > 100
    assert plans.read_whole == []
    with explained() as plans:
        order = place("tok_visa")
        relay_events(now=timezone.now(), limit=500)
        run = Run.objects.get(key=str(order.id))
        for action in (Action.PAUSE, Action.RESUME, Action.CANCEL):
            run.refresh_from_db()
            interventions.ask([run], action, reason="Why not.", by="boss", now=timezone.now())
            assert interventions.work(now=timezone.now()).done == 1
        drive()
    assert plans.read_whole == []


@pytest.mark.usefixtures("history")
def test_a_step_reads_its_own_run_and_not_all_that_are_under_way() -> None:
    """Statistics are as old as the last quiet hour: they say that nothing is open. Since then many orders came in."""
    for _ in range(20):
        place("tok_visa")
    first, *_ = relay_events(now=timezone.now(), limit=500).wake_ups
    with explained() as plans:
        run_chain(first)
    assert plans.indexes & {"sagas_one_open_run_per_saga_and_key", "sagas_run_due", "sagas_run_deadline"} == set()
