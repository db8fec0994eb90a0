"""Every breach of the books, made by hand, is found with its figures and clears itself."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import F
from django.utils import timezone

from inventory import services as inventory
from inventory.models import Parcel, Reservation, StockItem
from notifications.models import Notification
from orders.models import Order, OrderLine
from payments.models import CreditAccount, CreditHold, Payment
from sagas.books.engine_checks import CHECKS
from sagas.core.statuses import Action
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Finding, Run
from sagas.operations import interventions
from sagas.testing import MovableClock, drive
from tests import one
from tests.factories.credit import CreditAccountFactory
from tests.factories.journal import DeliveryFactory
from tests.factories.orders import Place
from tests.factories.stock import ParcelFactory, ReservationFactory

from .conftest import facts, found, turn

pytestmark = pytest.mark.usefixtures("longest_pauses")


def test_a_changed_amount_is_found_with_both_figures_and_clears_itself(confirmed: Order) -> None:
    Payment.objects.update(amount_minor=1500)
    assert turn().found == 2
    key = str(confirmed.id)
    assert found() == {
        ("money", key): f"Order {confirmed.number} is confirmed: £20.00 owed, £15.00 captured, £0.00 refunded, "
        "£0.00 credit held.",
        ("paid-for", key): f"Order {confirmed.number} is confirmed, but its parcel is not paid for.",
    }
    run = Run.objects.get()
    assert facts("money", key) == {
        "order": confirmed.number,
        "order_id": key,
        "status": "confirmed",
        "total_minor": 2000,
        "owed_minor": 2000,
        "captured_minor": 1500,
        "refunded_minor": 0,
        "credit_held_minor": 0,
        "currency": "GBP",
        "other_currencies_minor": {},
        "runs": [{"id": str(run.id), "saga": "fulfil-order", "status": "completed"}],
    }
    assert turn().found == 0
    Payment.objects.update(amount_minor=2000)
    assert turn().cleared == 2
    assert found() == {}
    assert set(Finding.objects.values_list("status", flat=True)) == {"cleared"}


# Every breach, made by hand ----------------------------------------------------------------------------------------


def test_money_of_an_order_that_does_not_exist_is_found_on_the_walk(confirmed: Order) -> None:
    stray = uuid4()
    again = Payment.objects.get()
    again.pk, again.key, again.order_id = uuid4(), "another", stray
    again.save(force_insert=True)
    turn()
    assert found() == {
        ("money", str(stray)): f"Order {stray} does not exist: £0.00 owed, £20.00 captured, £0.00 refunded, "
        "£0.00 credit held.",
        ("process", str(stray)): f"Order {stray} does not exist, but it was paid for and has no process.",
    }
    again.delete()
    turn()
    assert found() == {}


def test_money_kept_of_a_rejected_order_is_found(rejected: Order) -> None:
    Payment.objects.update(status="captured")
    turn()
    assert list(found()) == [("money", str(rejected.id))]
    assert facts("money", rejected.id)["captured_minor"] == 2000
    assert facts("money", rejected.id)["owed_minor"] == 0
    Payment.objects.update(status="refunded")
    turn()
    assert found() == {}


def test_another_currency_is_found(confirmed: Order) -> None:
    Payment.objects.update(currency="EUR")
    turn()
    assert set(found()) == {("money", str(confirmed.id)), ("paid-for", str(confirmed.id))}
    assert facts("money", confirmed.id)["other_currencies_minor"] == {"EUR": 2000}
    assert "€20.00 in another currency" in found()["money", str(confirmed.id)]


def test_credit_that_is_not_held_for_an_order_by_invoice_is_found(place: Place) -> None:
    CreditAccountFactory.create(limit_minor=5000)
    order = place("invoice")
    drive()
    turn()
    assert found() == {}
    CreditHold.objects.update(status="released")
    turn()
    assert set(found()) == {("money", str(order.id)), ("paid-for", str(order.id)), ("credit", "ada@example.com")}
    assert facts("credit", "ada@example.com") == {
        "customer_email": "ada@example.com", "held_minor": 2000, "holds_minor": 0, "currency": "GBP",
    }  # fmt: skip
    CreditAccount.objects.update(held_minor=0)
    turn()
    assert set(found()) == {("money", str(order.id)), ("paid-for", str(order.id))}
    CreditHold.objects.update(status="held")
    CreditAccount.objects.update(held_minor=2000)
    turn()
    assert found() == {}


def test_a_shelf_that_counts_wrong_is_found(confirmed: Order) -> None:
    StockItem.objects.filter(sku="LAMP").update(reserved=3)
    turn()
    assert found() == {("stock", "LAMP"): "The shelf of LAMP says 3 reserved; open reservations hold 0."}
    assert facts("stock", "LAMP") == {"sku": "LAMP", "reserved": 3, "held": 0}
    StockItem.objects.filter(sku="LAMP").update(reserved=0)
    ReservationFactory.create(order_id=confirmed.id, sku="LAMP", quantity=2)
    turn()
    assert set(found()) == {("stock", "LAMP"), ("goods", str(confirmed.id))}
    assert facts("stock", "LAMP") == {"sku": "LAMP", "reserved": 0, "held": 2}
    assert "still holds stock" in found()["goods", str(confirmed.id)]
    Reservation.objects.filter(sku="LAMP").delete()
    turn()
    assert found() == {}


def test_a_deleted_reservation_is_found_while_it_is_needed_and_afterwards(confirmed: Order, place: Place) -> None:
    waiting = place("tok_flaky")
    drive()
    turn()
    assert found() == {}
    Reservation.objects.all().delete()
    turn()
    assert set(found()) == {("stock", "MUG"), ("goods", str(confirmed.id))}
    assert facts("stock", "MUG") == {"sku": "MUG", "reserved": 2, "held": 0}
    assert facts("goods", confirmed.id)["ordered"] == {"MUG": 2}
    assert facts("goods", confirmed.id)["shipped"] == {}
    one.reserve(order_id=waiting.id, quantities=[], key="k", now=timezone.now())


def test_stock_held_for_an_order_that_is_over_is_found(rejected: Order) -> None:
    Reservation.objects.update(status="held")
    StockItem.objects.filter(sku="MUG").update(reserved=2)
    turn()
    assert found() == {("goods", str(rejected.id)): f"Order {rejected.number} is rejected, but it holds stock."}
    inventory.release(order_id=rejected.id, key=Reservation.objects.get().key, now=timezone.now())
    turn()
    assert found() == {}


def test_a_parcel_without_payment_is_found(rejected: Order) -> None:
    parcel = ParcelFactory.create(order_id=rejected.id, tracking_number="PX1")
    turn()
    assert found() == {
        ("goods", str(rejected.id)): f"Order {rejected.number} is rejected, but it has a parcel.",
        ("paid-for", str(rejected.id)): f"Order {rejected.number} is rejected, but its parcel is not paid for.",
    }
    assert facts("paid-for", rejected.id)["parcel"] == "PX1"
    parcel.delete()
    turn()
    assert found() == {}


def test_a_missing_parcel_is_found(confirmed: Order) -> None:
    Parcel.objects.all().delete()
    turn()
    assert found() == {("goods", str(confirmed.id)): f"Order {confirmed.number} is confirmed, but it has no parcel."}


def test_lines_that_are_not_what_was_shipped_are_found(confirmed: Order) -> None:
    OrderLine.objects.update(quantity=3)
    turn()
    assert list(found()) == [("goods", str(confirmed.id))]
    assert facts("goods", confirmed.id)["ordered"] == {"MUG": 3}
    assert facts("goods", confirmed.id)["shipped"] == {"MUG": 2}


def test_a_deleted_run_is_found(confirmed: Order) -> None:
    Run.objects.all().delete()
    turn()
    assert found() == {
        ("process", str(confirmed.id)): f"Order {confirmed.number} is confirmed, but it was paid for and has no "
        "process."
    }
    assert facts("process", confirmed.id)["captured_minor"] == 2000
    assert facts("process", confirmed.id)["runs"] == []


def test_an_order_that_disagrees_with_its_run_is_found(confirmed: Order, place: Place) -> None:
    turned = place("tok_chargeDeclined")
    drive()
    Run.objects.filter(key=turned.id).update(status="completed")
    Order.objects.filter(id=confirmed.id).update(status="pending", decided_at=None)
    turn()
    assert found()["process", str(turned.id)] == (f"Order {turned.number} is rejected, but its process is completed.")
    assert found()["process", str(confirmed.id)] == (
        f"Order {confirmed.number} is pending, but its process is completed."
    )
    assert ("money", str(confirmed.id)) in found()


def test_an_order_that_nothing_will_ever_start_is_found_after_a_minute(place: Place) -> None:
    order = place()
    Event.objects.update(log_position=F("position"))
    turn(after=timedelta(seconds=50))
    assert found() == {}
    turn(after=timedelta(seconds=70))
    assert found() == {
        ("process", str(order.id)): f"Order {order.number} is pending, but it has no process and nothing that would "
        "start one."
    }
    Event.objects.update(log_position=None)
    drive()
    turn()
    assert found() == {}


def test_an_event_that_nobody_relays_is_found(place: Place) -> None:
    place()
    place()
    turn(after=timedelta(seconds=20))
    assert found() == {}
    turn(after=timedelta(seconds=80))
    oldest = Event.objects.earliest("position")
    assert found() == {
        ("events-relayed", "orders.order_placed"): "2 events orders.order_placed not relayed, the oldest since "
        f"{oldest.occurred_at:%Y-%m-%d %H:%M:%S} UTC: does the relay run?"
    }
    assert facts("events-relayed", "orders.order_placed") == {
        "type": "orders.order_placed",
        "known_type": True,
        "count": 2,
        "oldest_at": oldest.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "oldest_position": oldest.position,
    }
    drive()
    turn()
    assert found() == {}


def test_an_event_of_a_type_this_code_does_not_know_is_said_to_be_one(confirmed: Order) -> None:
    Event.objects.filter(type="orders.order_confirmed").update(type="orders.order_gilded", log_position=None)
    turn(after=timedelta(seconds=31))
    assert facts("events-relayed", "orders.order_gilded")["known_type"] is False
    assert found()["events-relayed", "orders.order_gilded"].endswith("this code does not know the type.")


def test_deliveries_of_a_receiver_that_was_removed_come_with_what_to_do(confirmed: Order) -> None:
    event = Event.objects.latest("position")
    DeliveryFactory.create(subscription="webhook-gone", event=event, due_at=event.occurred_at)
    turn(after=timedelta(minutes=30))
    assert found()["deliveries-swept", "webhook-gone"].startswith("1 delivery of webhook-gone is not swept, ")
    (check,) = (check for check in CHECKS if check.name == "deliveries-swept")
    assert "name it in the settings again, or skip what it is behind" in check.remedy


@pytest.mark.parametrize(
    ("action", "status"), [(Action.CANCEL, "cancelled"), (Action.UNDO, "rejected"), (Action.PAUSE, "pending")]
)
def test_what_a_person_does_to_an_order_is_no_breach(place: Place, action: Action, status: str) -> None:
    order, clock = place("tok_down"), MovableClock()
    drive(now=clock)
    batch = interventions.ask([Run.objects.get()], action, reason="they asked for it", by="ada", now=clock())
    assert interventions.work(now=clock(), batch=batch).done == 1
    clock.move(minutes=1)
    drive(now=clock)
    turn()
    turn(after=timedelta(minutes=10))
    order.refresh_from_db()
    assert order.status == status
    assert found() == {}


def test_runs_that_nobody_takes_are_found(place: Place) -> None:
    place()
    relay_events(now=timezone.now(), limit=500)
    turn()
    assert found() == {}
    Run.objects.update(resends=10)
    turn()
    assert facts("runs-taken", "fulfil-order: reserve-stock")["count"] == 1
    Run.objects.update(resends=0)
    turn()
    assert found() == {}


def test_what_nobody_sweeps_is_found(place: Place) -> None:
    place("tok_flaky")
    place("tok_visa")
    relay_events(now=timezone.now(), limit=500)
    turn(after=timedelta(minutes=1))
    assert found() == {}
    turn(after=timedelta(minutes=3))
    assert facts("runs-swept", "fulfil-order")["count"] == 2
    assert facts("runs-swept", "fulfil-order")["known_saga"] is True
    drive(now=lambda: timezone.now() + timedelta(minutes=3))
    Delivery.objects.update(status="pending", due_at=timezone.now())
    Run.objects.update(due_at=timezone.now() + timedelta(hours=1))
    turn(after=timedelta(minutes=3))
    assert {check for check, _ in found()} == {"deliveries-swept"}
    assert facts("deliveries-swept", "send-notification")["count"] == Delivery.objects.count()


def test_a_customer_who_was_not_told_is_found(confirmed: Order) -> None:
    Notification.objects.all().delete()
    turn()
    assert found() == {("told", str(confirmed.id)): f"Order {confirmed.number} is confirmed, but the customer was "
                       "not told."}  # fmt: skip


def test_a_customer_who_was_told_the_opposite_is_found(rejected: Order) -> None:
    Notification.objects.update(kind="order_confirmed")
    turn()
    assert found() == {
        ("told", str(rejected.id)): f"Order {rejected.number} is rejected, but the customer was told order_confirmed."
    }


def test_a_message_that_nothing_sends_is_found_when_it_has_rested(confirmed: Order) -> None:
    Notification.objects.update(status="queued", sent_at=None)
    turn(after=timedelta(minutes=3))
    assert found() == {}
    delivery = Delivery.objects.get()
    Delivery.objects.update(status="parked")
    turn(after=timedelta(minutes=6))
    assert found() == {}
    delivery.delete()
    turn(after=timedelta(minutes=6))
    assert found() == {
        ("told", str(confirmed.id)): f"Order {confirmed.number} is confirmed, but the message order_confirmed was "
        "queued and nothing sends it."
    }
    assert facts("told", confirmed.id)["messages"][0]["status"] == "queued"
