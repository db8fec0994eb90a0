"""No state that an order passes through is a breach."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from orders.models import Order
from payments.models import Payment
from sagas.books.reconciliation import reconcile
from sagas.core import registry
from sagas.engine import steps
from sagas.log.relay import relay_events
from sagas.models import Delivery, Finding, Follower, Run
from sagas.testing import MovableClock, drive
from shop.wiring import SAGAS, wiring
from tests.factories.credit import CreditAccountFactory
from tests.factories.orders import Place

from .conftest import found, turn

pytestmark = pytest.mark.usefixtures("longest_pauses")


class Watched:
    """Makes turns after every commit, as other processes would: now, and as if everything had rested for long."""

    def __init__(self, clock: MovableClock) -> None:
        self.clock, self.said, self.states = clock, [], set()  # type: ignore[var-annotated]
        self.thread = ThreadPoolExecutor(1)

    def look(self) -> None:
        self.thread.submit(self._look).result(timeout=30)

    def _look(self) -> None:
        now, shops = self.clock(), [check for check in registry.checks() if check.name not in ENGINES]
        reconcile(now=now, checks=registry.checks(), walks=registry.walks())
        reconcile(now=now + timedelta(minutes=10), checks=shops, walks=registry.walks())
        live = list(Run.objects.filter(status__in=("running", "undoing")))
        if live:
            # Wherever a run stands, it may be stopped there.
            Run.objects.filter(pk__in=[run.pk for run in live]).update(
                status="needs_attention", resumes_as="running", stopped_at=timezone.now()
            )
            reconcile(now=now, checks=shops, walks=registry.walks())
            Run.objects.bulk_update(live, ["status"])
        orders = Order.objects.values_list("status", flat=True)
        runs = Run.objects.values_list("status", "place")
        money = Payment.objects.values_list("status", flat=True)
        self.states.add((tuple(orders), tuple(runs), tuple(money)))
        self.said += found().values()

    def close(self) -> None:
        self.thread.submit(connections.close_all).result()
        self.thread.shutdown()


ENGINES = ("events-relayed", "runs-swept", "runs-taken", "deliveries-swept", "slots-read")


@pytest.fixture
def watched(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched, commit = Watched(MovableClock()), connection.commit

    def commit_and_look() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
            (wrote,) = cursor.fetchone() or (True,)
        commit()
        if wrote:
            watched.look()

    monkeypatch.setattr(connection, "commit", commit_and_look)
    yield watched
    monkeypatch.undo()
    watched.close()


#: How it is ordered, how it ends, and how many states of a run are seen at least.
ORDERS: list[tuple[str, dict[str, Any], str, int]] = [
    ("tok_visa", {}, "confirmed", 8),
    ("tok_chargeDeclined", {}, "rejected", 7),
    ("tok_flaky", {}, "confirmed", 8),
    ("tok_lostReply", {}, "confirmed", 8),
    ("tok_down", {}, "rejected", 7),
    ("tok_visa", {"lines": (("LAMP", 101),)}, "rejected", 5),
    ("invoice", {}, "confirmed", 7),
    ("invoice", {"lines": (("LAMP", 2),)}, "rejected", 6),
]


@pytest.mark.parametrize("coordination", ["saga", "choreography"])
@pytest.mark.parametrize(("method", "more", "ends", "states"), ORDERS)
def test_no_state_an_order_passes_through_is_a_breach(
    watched: Watched, place: Place, coordination: str, method: str, more: dict[str, Any], ends: str, states: int
) -> None:
    CreditAccountFactory.create(limit_minor=5000)
    with registry.current().rewired(wiring(coordination), sagas=SAGAS).active():
        order = place(method, now=watched.clock(), **more)
        for _minute in range(8):
            drive(now=watched.clock)
            watched.clock.move(seconds=60)
    order.refresh_from_db()
    assert order.status == ends
    assert watched.said == []
    assert not Finding.objects.exists()
    assert len(watched.states) >= (states if coordination == "saga" else 3), watched.states  # the latter has no run


def test_a_choreographed_order_that_nobody_goes_on_with_is_found(place: Place) -> None:
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        order = place()
        relay_events(now=timezone.now(), limit=500)
        turn()
        assert found() == {}
        Delivery.objects.update(status="skipped")
        turn()
        assert found() == {
            ("process", str(order.id)): f"Order {order.number} is pending, but the contexts are done with it."
        }


def test_an_order_that_waits_while_the_saga_may_not_start_is_no_breach(place: Place) -> None:
    place()
    drive()
    Follower.objects.filter(name="start-fulfil-order").update(paused_at=timezone.now())
    place()
    drive()
    turn(after=timedelta(minutes=9))
    assert found() == {}


def test_an_order_that_is_undone_after_it_was_charged_is_no_breach(watched: Watched, place: Place) -> None:
    order = place(now=watched.clock())
    (wake_up,) = relay_events(now=watched.clock(), limit=500).wake_ups
    for task in wake_up.tasks[:2]:
        steps.execute(run_ids=wake_up.run_ids, place=task.place, epoch=1, clock=watched.clock)
    assert Payment.objects.get().status == "captured"
    Run.objects.update(deadline_at=watched.clock())
    watched.clock.move(seconds=60)
    drive(now=watched.clock)
    order.refresh_from_db()
    assert (order.status, Payment.objects.get().status) == ("rejected", "refunded")
    assert watched.said == []
    assert not Finding.objects.exists()
    # It was seen while its undo started, and refunded before it was rejected.
    assert (("pending",), ("refunded",)) in {(orders, money) for orders, _, money in watched.states}
    assert "undoing" in {status for _, runs, _ in watched.states for status, _ in runs}
