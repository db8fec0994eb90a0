"""What an order costs in statements, alone and together with others: a change that makes it more has to say so here."""

from collections import Counter
from pathlib import Path

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sagas.core import registry
from sagas.log.relay import relay_events
from sagas.testing import Broker
from shop.wiring import SAGAS, wiring
from tests.factories.orders import Place

#: By message, from the relay (what starts the run, what is told meanwhile, that the mail is sent) to the last mail;
#: each with its BEGIN and COMMIT.
ALONE = {
    "relay": 12 + 8 + 6,
    "inventory.reserve_stock": 14,
    "payments.capture_payment": 19,
    "inventory.book_shipment": 16,
    "orders.confirm_order": 12,
    "notifications.notify_customer": 11,
    "notifications.send_notification": 19,
}
#: A batch costs so many, whatever its size.
TOGETHER = ALONE | {"payments.capture_payment": 15}
#: The same order by choreography: each reaction is a delivery, and the relay makes a turn after each.
CHOREOGRAPHED = {
    "relay": 55,
    "inventory.start_fulfil_order": 17,
    "payments.then_hold_credit": 10,
    "payments.then_capture_payment": 21,
    "inventory.then_book_shipment": 19,
    "orders.then_confirm_order": 15,
    "notifications.then_notify_customer": 15,
    "notifications.send_notification": 19,
}


def cost() -> Counter[str]:
    """Do all there is to do; return how many statements each kind of message cost."""
    broker, statements = Broker(), Counter[str]()
    while True:
        with CaptureQueriesContext(connection) as made:
            relayed = relay_events(now=timezone.now(), limit=500)
        if not relayed.events:
            return statements
        statements["relay"] += len(made)
        broker.send(relayed.wake_ups, relayed.deliveries)
        while broker.messages:
            message = broker.messages[0]
            with CaptureQueriesContext(connection) as made:
                broker.deliver(message)
            statements[str(message)] += len(made)


def test_an_order_alone_costs_so_many_statements(place: Place) -> None:
    place()
    cost()  # what is asked once a process
    place()
    assert cost() == ALONE


def test_a_batch_costs_as_many_statements_for_thirty_orders_as_for_two(place: Place) -> None:
    place()
    cost()
    for count in (2, 30):
        for _ in range(count):
            place(lines=(("MUG", 1),))
        assert cost() == TOGETHER


def test_a_choreographed_order_costs_so_many_statements(place: Place) -> None:
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        place()
        cost()
        place()
        assert cost() == CHOREOGRAPHED


def test_the_page_on_coordination_has_these_figures() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "coordination.md").read_text()
    figures = [f"{sum(cost.values())}, relay {cost['relay']}" for cost in (ALONE, CHOREOGRAPHED)]
    assert f"| {figures[0]} | {figures[1]} |" in page
