"""Why does this order stand where it stands?"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from sagas.models import Delivery, Event, Run, StepRun
from sagas.operations.attention_reasons import Why
from sagas.testing import Broker, MovableClock, drive
from shop.pages.timeline_lines import Shown, span
from shop.story.standing import standing
from shop.story.timeline import story, timeline
from tests.concurrency import at_once
from tests.factories.journal import DeliveryFactory
from tests.factories.orders import Place

pytestmark = pytest.mark.usefixtures("longest_pauses")


def shown(order: Order) -> list[tuple[str, str, str]]:
    return [(entry.kind, entry.title, entry.status) for entry in timeline(order.id)]


def queries(call: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


def test_what_happens_while_a_page_is_read_is_on_it_or_still_to_come(place: Place, clock: MovableClock) -> None:
    """Otherwise a page stopped asking that did not have the last event."""
    order, broker = place(now=clock()), Broker(clock)
    while not Delivery.objects.exists():
        broker.work_off()
        broker.relay()
    sent: list[object] = []

    def send_meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = execute(sql, params, many, context)
        if 'FROM "sagas_event"' in sql and not sent:
            sent.extend(at_once(broker.work_off))
        return found

    with connection.execute_wrapper(send_meanwhile):
        stands, entries = story(order.id, now=timezone.now())
    assert sent == [None]
    assert stands.live
    assert [entry.title for entry in entries if entry.title.endswith("sent")] == []
    # Until the relay has taken the last event, the page asks again.
    assert standing(order.id, now=timezone.now()).live
    broker.relay()
    assert not standing(order.id, now=timezone.now()).live
    assert ("event", "Notification sent", "relayed") in shown(order)


def test_a_confirmed_order_tells_everything_in_order(place: Place, clock: MovableClock) -> None:
    order = place(now=clock())
    drive(now=clock)
    assert shown(order) == [
        ("event", "Order placed", "relayed"),
        ("run", "Fulfil order started", "completed"),
        ("step", "Hold credit", "skipped"),
        ("step", "Reserve stock", "done"),
        ("reservation", "Stock held", "held"),
        ("event", "Stock reserved", "relayed"),
        ("step", "Capture payment", "done"),
        ("payment", "Payment captured", "captured"),
        ("event", "Payment captured", "relayed"),
        ("step", "Book shipment", "done"),
        ("reservation", "Stock shipped", "shipped"),
        ("event", "Shipment booked", "relayed"),
        ("step", "Confirm order", "done"),
        ("event", "Order confirmed", "relayed"),
        ("step", "Notify customer", "done"),
        ("event", "Notification queued", "relayed"),
        ("run", "Fulfil order completed", "completed"),
        ("delivery", "Send notification", "done"),
        ("notification", "Message “order confirmed” sent", "sent"),
        ("event", "Notification sent", "relayed"),
    ]
    stands = standing(order.id, now=timezone.now())
    assert (stands.sentence, stands.reason) == ("Everything is done.", "")
    assert (stands.order_status, stands.run_status, stands.step) == ("confirmed", "completed", "")
    assert not stands.live
    assert not stands.needs_attention


def test_a_rejected_order_tells_what_failed_and_what_was_undone(place: Place, clock: MovableClock) -> None:
    order = place("tok_chargeDeclined", now=clock())
    drive(now=clock)
    assert shown(order) == [
        ("event", "Order placed", "relayed"),
        ("run", "Fulfil order started", "undone"),
        ("step", "Hold credit", "skipped"),
        ("step", "Reserve stock", "done"),
        ("reservation", "Stock held", "held"),
        ("event", "Stock reserved", "relayed"),
        ("step", "Capture payment", "failed"),
        ("payment", "Payment declined", "declined"),
        ("event", "Payment declined", "relayed"),
        ("attempt", "Capture payment: try 1 failed", "rejected"),
        ("step", "Book shipment", "skipped"),
        ("step", "Confirm order", "skipped"),
        ("step", "Notify customer", "skipped"),
        ("run", "Fulfil order: undo started", "undoing"),
        ("undo", "Release stock", "done"),
        ("reservation", "Stock released", "released"),
        ("event", "Stock released", "relayed"),
        ("step", "Close order", "done"),
        ("event", "Order rejected", "relayed"),
        ("step", "Tell customer", "done"),
        ("event", "Notification queued", "relayed"),
        ("run", "Fulfil order undone", "undone"),
        ("delivery", "Send notification", "done"),
        ("notification", "Message “order rejected” sent", "sent"),
        ("event", "Notification sent", "relayed"),
    ]
    why = {entry.title: entry.detail for entry in timeline(order.id)}
    assert why["Hold credit"] == "Not needed for this order."
    assert why["Book shipment"] == "Not reached."
    assert why["Capture payment"] == "Your card was declined."
    stands = standing(order.id, now=timezone.now())
    assert stands.sentence == (
        "It could not be fulfilled: Your card was declined. All that had been done for it is undone."
    )
    assert stands.reason == "Your card was declined."
    assert not stands.live


def test_each_receiver_that_is_owed_events_of_a_finished_order_is_named_once(place: Place, clock: MovableClock) -> None:
    order = place(now=clock())
    drive(now=clock)
    events = list(Event.objects.filter(key=str(order.id)).order_by("log_position")[:3])
    owed = [
        ("webhook-busy", events[0], "running", 1, None),
        ("webhook-away", events[0], "pending", 3, clock()),
        ("webhook-away", events[1], "pending", 0, None),
        ("webhook-away", events[2], "pending", 0, None),
        ("webhook-new", events[0], "pending", 0, None),
        ("webhook-new", events[1], "pending", 0, None),
    ]
    for name, event, status, attempts, retry_at in owed:
        DeliveryFactory.create(
            subscription=name, event=event, status=status, attempts=attempts, due_at=None, retry_at=retry_at
        )
    assert standing(order.id, now=timezone.now()).sentence == (
        "Everything is done. “Webhook busy” is under way."
        " “Webhook away” failed 3 times. It will be tried again. 2 more events follow."
        " “Webhook new” is still to come. 1 more event follows."
    )


def test_a_step_that_waits_says_when_it_is_tried_again(place: Place, clock: MovableClock) -> None:
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    row = StepRun.objects.get(run__key=str(order.id), name="capture-payment")
    stands = standing(order.id, now=timezone.now())
    assert stands.next_try_at == row.held_until
    assert stands.sentence == (
        "“Capture payment” failed once: The payment provider is busy (503). It will be tried again."
    )
    assert stands.live
    [step] = [entry for entry in timeline(order.id) if entry.title == "Capture payment"]
    assert (step.status, step.next_try_at) == ("waiting", row.held_until)
    assert step.detail == "Failed once of at most 5; it will be tried again."

    clock.move(minutes=1)
    drive(now=clock)
    clock.move(minutes=1)
    drive(now=clock)
    tries = [entry for entry in timeline(order.id) if entry.kind == "attempt"]
    assert [(entry.title, entry.status) for entry in tries] == [
        ("Capture payment: try 1 failed", "retryable"),
        ("Capture payment: try 2 failed", "retryable"),
    ]
    assert "ProviderBusy" in tries[0].data["traceback"]
    [step] = [entry for entry in timeline(order.id) if entry.title == "Capture payment"]
    assert (step.status, step.detail) == ("done", "charged: £20.00 · at try 3")


def test_an_order_nobody_has_looked_at_yet_says_so(place: Place) -> None:
    order = place()
    stands = standing(order.id, now=timezone.now())
    assert stands.sentence == "The order is saved; its process starts in a moment."
    assert (stands.run_status, stands.live, stands.stages) == ("", True, ())
    assert shown(order) == [("event", "Order placed", "recorded")]


def test_a_run_that_is_stuck_needs_a_person(place: Place, clock: MovableClock) -> None:
    order = place(now=clock())
    drive(now=clock)
    why = {"step": "notify-customer", "kind": "unexpected", "error": "KeyError", "message": "tracking_number"}
    Run.objects.filter(key=str(order.id)).update(
        status="needs_attention", resumes_as="running", stopped_at=timezone.now(), attention=why, finished_at=None
    )
    stands = standing(order.id, now=timezone.now())
    assert stands.needs_attention
    assert not stands.live
    assert stands.sentence == (
        "It is stuck at “Notify customer” and needs a person: tracking_number. Nothing more happens by itself."
    )
    assert ("run", "Fulfil order needs a person", "needs_attention") in shown(order)


def test_a_parked_delivery_needs_a_person_and_changes_nothing_of_the_order(place: Place, clock: MovableClock) -> None:
    order = place(now=clock())
    drive(now=clock)
    Delivery.objects.update(status="parked", attempts=8, error="ChannelDown: no mail server", finished_at=None)
    stands = standing(order.id, now=timezone.now())
    assert (stands.order_status, stands.run_status) == ("confirmed", "completed")
    assert stands.needs_attention
    assert [(each.why, each.ref) for each in stands.attention] == [(Why.PARKED, str(Delivery.objects.get().pk))]
    assert stands.sentence == (
        "“Send notification” gave up after 8 tries and needs a person: ChannelDown: no mail server."
        " All its steps are over."
    )


@pytest.mark.django_db
def test_an_unknown_order_has_no_standing() -> None:
    with pytest.raises(LookupError):
        standing(uuid4(), now=timezone.now())
    assert timeline(uuid4()) == []


def test_the_number_of_queries_does_not_depend_on_the_order(place: Place, clock: MovableClock) -> None:
    small, large = place(now=clock()), place("tok_flaky", lines=(("MUG", 1), ("TRAY", 2), ("LAMP", 3)), now=clock())
    for _ in range(3):
        drive(now=clock)
        clock.move(minutes=1)
    assert (
        queries(lambda: story(small.id, now=timezone.now()))
        == queries(lambda: story(large.id, now=timezone.now()))
        == 22
    )


def test_hundreds_of_lines_are_one_entry(place: Place, clock: MovableClock) -> None:
    order = place(lines=(("MUG", 1), ("TRAY", 2), ("LAMP", 3)), now=clock())
    drive(now=clock)
    held = [entry for entry in timeline(order.id) if entry.title == "Stock held"]
    assert [entry.detail for entry in held] == ["3 x LAMP, 1 x MUG, 2 x TRAY"]
    assert held[0].data["quantities"] == {"LAMP": 3, "MUG": 1, "TRAY": 2}


def test_every_entry_can_be_shown(place: Place, clock: MovableClock) -> None:
    order = place("tok_chargeDeclined", now=clock())
    drive(now=clock)
    shown = [Shown.of(entry, since=order.placed_at) for entry in timeline(order.id)]
    [failed] = [entry for entry in shown if entry.kind == "attempt"]
    assert (failed.icon, failed.tone, failed.label) == ("error", "bad", "refused")
    assert "CardDeclined" in failed.traceback
    assert "traceback" not in failed.data
    assert len({entry.key for entry in shown}) == len(shown)
    assert settings.CURRENCY in shown[0].data


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0434, "43 ms"),
        (1.609, "1.61 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273_700, "3 d 4 h"),
        (-5, "0 ms"),
    ],
)
def test_a_span_is_written_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text
