"""What the story of an order says of steps by hand, of the way back, of causes, and to clients of the API."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from orders.models import Order
from payments.credit import open_credit
from sagas.core import registry
from sagas.core.statuses import Action
from sagas.models import Delivery, Event, Run, StepRun
from sagas.operations import interventions, subjects
from sagas.testing import MovableClock, drive
from shop.models import CustomerOrder
from shop.pages.timeline_lines import Shown
from shop.story.causes import Placed, in_order
from shop.story.entries import Entry
from shop.story.standing import Standing, standing
from shop.story.timeline import timeline
from shop.wiring import SAGAS, wiring
from tests.factories.orders import Place

from .conftest import sagas

pytestmark = pytest.mark.usefixtures("longest_pauses")


def later(clock: MovableClock, minutes: int = 10) -> None:
    """Do all there is to do, for some minutes."""
    for _ in range(minutes):
        drive(now=clock)
        clock.move(minutes=1)


def ask(action: str, subject: Run, reason: str, now: datetime) -> None:
    subject.refresh_from_db()
    interventions.ask([subject], Action(action), reason=reason, by="boss", now=now)
    assert interventions.work(now=now).done == 1


def stands(order: Order) -> Standing:
    return standing(order.id, now=timezone.now())


def entry_of(order: Order, title: str, kind: str = "step") -> Entry:
    (found,) = [entry for entry in timeline(order.id) if (entry.title, entry.kind) == (title, kind)]
    return found


def chips(order: Order) -> dict[str, str]:
    return {stage.name: stage.status for stage in stands(order).stages}


# Steps that were skipped by hand --------------------------------------------------------------------------------------


@pytest.fixture
def skipped(place: Place, clock: MovableClock) -> Order:
    """An order whose payment had no answer twice, and was taken as done by hand."""
    order = place("tok_down", now=clock())
    drive(now=clock)
    clock.move(seconds=1)
    drive(now=clock)
    ask("skip", Run.objects.get(), "Paid in cash.", clock())
    later(clock, 2)
    return order


def test_a_step_that_was_skipped_by_hand_is_not_done(skipped: Order) -> None:
    assert chips(skipped)["capture-payment"] == "skipped by hand"
    entry = entry_of(skipped, "Capture payment")
    assert entry.status == "skipped by hand"
    assert entry.detail == (
        "Taken as done by boss: Paid in cash. 2 tries before had no answer and may have charged the customer."
    )
    assert entry.duration_seconds is None
    shown = Shown.of(entry, since=skipped.placed_at)
    assert (shown.label, shown.took, shown.tone) == ("skipped by hand", "", "back")
    told = [each.title for each in timeline(skipped.id)]
    assert told.index("boss skipped “capture-payment”") < told.index("Capture payment")


def test_the_form_that_skips_a_step_warns_of_tries_without_an_answer(
    boss: Client, place: Place, clock: MovableClock
) -> None:
    warning = "1 try had no answer and may have taken effect at the other system."
    for method, warns in (("tok_down", True), ("tok_flaky", False)):
        order = place(method, now=timezone.now())
        drive()
        run = Run.objects.get(key=str(order.id))
        ask("pause", run, "Looking into it.", timezone.now())
        run.refresh_from_db()
        (facts,) = subjects.summaries([run], now=timezone.now())
        assert facts.unanswered == int(warns)
        page = boss.get("/admin/sagas/intervention/intervene/", {"action": "skip", "pick": facts.pick})
        assert (warning in page.content.decode()) is warns


# The way back ---------------------------------------------------------------------------------------------------------


def test_an_order_that_a_person_had_undone_says_so_and_the_customer_is_not_asked_to_try_again(
    place: Place, clock: MovableClock
) -> None:
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    ask("undo", Run.objects.get(), "Wrong address", clock())
    later(clock)
    order.refresh_from_db()
    assert stands(order).sentence == ("A person had it undone: Wrong address. All that had been done for it is undone.")
    assert (order.status, order.reason) == ("rejected", "We could not carry out your order.")


def test_a_cancelled_order_is_not_said_to_be_rejected(place: Place, clock: MovableClock) -> None:
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    ask("cancel", Run.objects.get(), "Ordered twice.", clock())
    later(clock)
    assert stands(order).sentence == "It was cancelled: Ordered twice. All that had been done for it is undone."
    assert chips(order)["close-order"] == "done"
    assert not [entry.title for entry in timeline(order.id) if "eject" in entry.title]


def test_the_way_back_stands_below_what_turned_the_order_back(place: Place, clock: MovableClock) -> None:
    order = place("tok_visa", now=clock())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inventory.services.book_shipments", _no_van)
        later(clock, 1)
        ask("cancel", Run.objects.get(), "Ordered twice.", clock())
        later(clock)
    told = [entry.title for entry in timeline(order.id)]
    in_turn = (
        "Capture payment", "Payment captured", "Book shipment", "boss cancelled the order",
        "Fulfil order: undo started", "Refund", "Payment refunded", "Release stock", "Stock released", "Close order",
        "Fulfil order undone",
    )  # fmt: skip
    assert [title for title in dict.fromkeys(told) if title in in_turn] == list(in_turn)
    assert entry_of(order, "Reserve stock").status == "done", "it was done; that it is undone, “Release stock” says"
    assert entry_of(order, "Reserve stock").detail.endswith("undone later")
    moments = [entry.at for entry in timeline(order.id)]
    assert moments == sorted(moments)


def _no_van(*_: Any, **__: Any) -> None:
    raise ConnectionError("There is no van.")


# Causes before effects ------------------------------------------------------------------------------------------------


def test_what_came_of_an_event_stands_below_it_whatever_the_clocks_say(place: Place, clock: MovableClock) -> None:
    order = place(now=clock())
    drive(now=clock)
    queued = Event.objects.get(type="notifications.notification_queued")
    Delivery.objects.update(started_at=queued.occurred_at - timedelta(milliseconds=7))
    Run.objects.update(started_at=order.placed_at - timedelta(milliseconds=7))
    told = [entry.title for entry in timeline(order.id)]
    assert told.index("Order placed") == 0
    assert told.index("Notification queued") < told.index("Send notification") < told.index("Notification sent")
    moments = [entry.at for entry in timeline(order.id)]
    assert moments == sorted(moments)


def test_an_entry_that_claims_to_be_earlier_than_its_cause_gets_the_moment_of_its_cause() -> None:
    now = timezone.now()
    early, late = (
        Entry(at=now + timedelta(milliseconds=offset), kind="event", title=title, status="relayed")
        for offset, title in ((36, "effect"), (43, "cause"))
    )
    cause = Placed(entry=late, rank=0)
    ordered = in_order([Placed(entry=early, rank=0, after=[cause]), cause])
    assert [(entry.title, entry.at) for entry in ordered] == [("cause", late.at), ("effect", late.at)]


# Choreography ---------------------------------------------------------------------------------------------------------


def test_a_choreographed_order_has_chips_and_says_why_it_has_no_buttons(
    place: Place, clock: MovableClock, choreography: None
) -> None:
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    assert chips(order) == {
        "reserve-stock": "done",
        "hold-credit": "skipped",
        "capture-payment": "waiting",
        "book-shipment": "pending",
        "confirm-order": "pending",
        "notify-customer": "pending",
    }
    assert stands(order).note.startswith(
        "No run conducts this order, so it cannot be cancelled, undone or paused here."
    )
    later(clock)
    assert set(chips(order).values()) == {"done", "skipped"}
    assert stands(order).note == ""
    assert entry_of(order, "Hold credit", "delivery").detail == "Not needed for this order."
    assert entry_of(order, "Reserve stock", "delivery").status == "done"


def test_a_choreographed_order_that_got_no_answer_says_what_its_cause_was(
    place: Place, clock: MovableClock, choreography: None
) -> None:
    order = place("tok_down", now=clock())
    later(clock)
    tried = Delivery.objects.get(subscription="then-capture-payment").tries.latest("pk")
    assert stands(order).sentence == (
        f"It could not be fulfilled: {tried.message} All that had been done for it is undone."
    )
    found = chips(order)
    assert (found["capture-payment"], found["release-stock"], found["close-order"]) == ("failed", "done", "done")
    assert found["book-shipment"] == "skipped"


def test_a_reaction_that_was_left_out_by_hand_says_so_and_what_may_have_happened(
    place: Place, clock: MovableClock, choreography: None
) -> None:
    order = place("tok_down", now=clock())
    later(clock, 2)
    Delivery.objects.filter(subscription="then-capture-payment").update(status="parked", due_at=None, retry_at=None)
    delivery = Delivery.objects.get(status="parked")
    unanswered = delivery.tries.count()
    assert subjects.summaries([delivery], now=clock())[0].unanswered == unanswered > 1
    interventions.ask([delivery], Action.SKIP, reason="Paid in cash.", by="boss", now=clock())
    interventions.work(now=clock())
    assert chips(order)["capture-payment"] == "skipped by hand"
    entry = entry_of(order, "Capture payment", "delivery")
    assert (entry.status, entry.duration_seconds) == ("skipped by hand", None)
    assert entry.detail == (
        f"Left out by boss: Paid in cash. {unanswered} tries before had no answer and may have charged the customer."
    )
    told = [each.title for each in timeline(order.id)]
    assert told.index("boss skipped “then-capture-payment”") < told.index("Capture payment")


def test_a_terminal_that_is_set_to_the_saga_knows_a_choreographed_order(place: Place, clock: MovableClock) -> None:
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        order = place("tok_chargeDeclined", now=clock())
        later(clock)
    said = sagas("show", order.number)
    assert said.startswith(f"No run conducts {order.number}; what reacted to its events:\n")
    assert (
        "  failed    then-capture-payment  on inventory.stock_reserved  CardDeclined: Your card was declined." in said
    )
    assert "then-capture-payment          switched off here" in sagas("followers")


# Clients of the API ---------------------------------------------------------------------------------------------------


def test_clients_of_the_api_read_no_traceback_no_path_and_no_word_meant_for_staff(
    place: Place, clock: MovableClock, settings: Any
) -> None:
    settings.API_TOKEN = "secret"
    order = place("tok_down", now=clock())
    drive(now=clock)
    ask("skip", Run.objects.get(), "Between us: paid in cash.", clock())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inventory.services.book_shipments", _lost_file)
        later(clock, 2)
    told = Client().get(f"/api/orders/{order.id}", headers={"authorization": "Bearer secret"})
    words = told.content.decode()
    for secret in ("Traceback", ".py", "/srv/", "Between us", "boss", "FileNotFoundError"):
        assert secret not in words
    tries = [entry for entry in told.json()["timeline"] if entry["kind"] == "attempt"]
    assert [(entry["status"], entry["detail"]) for entry in tries[:2]] == [
        ("unknown", "No answer came; it may or may not have been done."),
        ("unexpected", "Something on our side did not work."),
    ]
    assert set(tries[0]["data"]) == {"number", "retry_at"}
    assert told.json()["standing"] == (
        "“Book shipment” failed once: Something on our side did not work. It will be tried again."
    )


def test_clients_of_the_api_read_of_an_undone_order_that_somebody_decided_so(
    place: Place, clock: MovableClock, settings: Any
) -> None:
    settings.API_TOKEN = "secret"
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    ask("undo", Run.objects.get(), "Between us: a wrong address.", clock())
    told = Client().get(f"/api/orders/{order.id}", headers={"authorization": "Bearer secret"})
    assert "Between us" not in told.content.decode()
    assert told.json()["standing"].startswith("A person has it undone: Our staff decided so. ")


def _lost_file(*_: Any, **__: Any) -> None:
    raise FileNotFoundError("/srv/shop/labels/7.pdf")


# What customers read of their orders ----------------------------------------------------------------------------------


def test_an_order_by_invoice_is_not_paid(place: Place) -> None:
    from sagas.log.read_models import follow

    open_credit(customer_email="ada@example.com", limit_minor=5000, currency=settings.CURRENCY)
    by_invoice, by_card = place("invoice"), place("tok_visa")
    drive()
    while follow():
        pass
    paid = dict(CustomerOrder.objects.values_list("order_id", "paid"))
    assert paid == {by_invoice.id: False, by_card.id: True}


def test_no_step_of_a_confirmed_order_is_undone(place: Place) -> None:
    order = place()
    drive()
    assert not StepRun.objects.filter(status="undone").exists()
    assert not re.search("undo", stands(order).sentence)
