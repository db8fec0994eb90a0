"""Reconciliation: every breach of the books is found with its figures, clears itself, and nothing else is one."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection, connections
from django.db.models import F
from django.test import Client
from django.utils import timezone

from inventory import services as inventory
from inventory.models import Parcel, Reservation, StockItem
from notifications.models import Notification
from orders.models import Order, OrderLine
from payments.models import CreditAccount, CreditHold, Payment
from payments.services import open_credit
from sagas.books.reconciliation import Reconciled, reconcile
from sagas.core import registry
from sagas.core.statuses import Action
from sagas.engine import steps
from sagas.log.relay import relay_events
from sagas.messaging import tasks
from sagas.models import Delivery, Event, Finding, Follower, Reconciliation, Run
from sagas.operations import interventions
from sagas.testing import MovableClock, drive
from shop.wiring import SAGAS, wiring
from tests.conftest import Processes, wait_for

pytestmark = pytest.mark.usefixtures("longest_pauses")

Place = Callable[..., Order]


def turn(*, after: timedelta = timedelta()) -> Reconciled:
    return reconcile(now=timezone.now() + after, checks=registry.checks(), walks=registry.walks())


def found() -> dict[tuple[str, str], str]:
    """Return the open findings: check and key, message."""
    return {(finding.check_name, finding.key): finding.message for finding in Finding.objects.filter(status="open")}


def facts(check: str, of: object) -> dict[str, Any]:
    read: dict[str, Any] = Finding.objects.get(check_name=check, key=str(of), status="open").facts
    return read


@pytest.fixture
def confirmed(place: Place) -> Order:
    order = place("tok_visa")
    drive()
    order.refresh_from_db()
    assert order.status == "confirmed"
    turn()
    assert found() == {}
    return order


@pytest.fixture
def rejected(place: Place) -> Order:
    order = place("tok_chargeDeclined")
    drive()
    order.refresh_from_db()
    assert order.status == "rejected"
    turn()
    assert found() == {}
    return order


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
    open_credit(customer_email="ada@example.com", limit_minor=5000, currency="GBP")
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
    Reservation.objects.create(order_id=confirmed.id, key="by hand", sku="LAMP", quantity=2, reserved_at=timezone.now())
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
    inventory.reserve(order_id=waiting.id, quantities=[], key="k", now=timezone.now())


def test_stock_held_for_an_order_that_is_over_is_found(rejected: Order) -> None:
    Reservation.objects.update(status="held")
    StockItem.objects.filter(sku="MUG").update(reserved=2)
    turn()
    assert found() == {("goods", str(rejected.id)): f"Order {rejected.number} is rejected, but it holds stock."}
    inventory.release(order_id=rejected.id, key=Reservation.objects.get().key, now=timezone.now())
    turn()
    assert found() == {}


def test_a_parcel_without_payment_is_found(rejected: Order) -> None:
    parcel = Parcel.objects.create(order_id=rejected.id, tracking_number="PX1", booked_at=timezone.now())
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
        f"{oldest.occurred_at:%Y-%m-%d %H:%M:%S}: does the relay run?"
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


# No false alarms ---------------------------------------------------------------------------------------------------


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


#: How it is ordered, how it ends, and how many states are seen at least.
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


@pytest.mark.parametrize(("method", "more", "ends", "states"), ORDERS)
def test_no_state_an_order_passes_through_is_a_breach(
    watched: Watched, place: Place, method: str, more: dict[str, Any], ends: str, states: int
) -> None:
    open_credit(customer_email="ada@example.com", limit_minor=5000, currency="GBP")
    order = place(method, now=watched.clock(), **more)
    for _ in range(6):
        drive(now=watched.clock)
        watched.clock.move(seconds=60)
    order.refresh_from_db()
    assert order.status == ends
    assert watched.said == []
    assert not Finding.objects.exists()
    assert len(watched.states) >= states, watched.states


@pytest.mark.parametrize(("method", "more", "ends", "_"), ORDERS)
def test_no_state_of_a_choreographed_order_is_a_breach(
    watched: Watched, place: Place, method: str, more: dict[str, Any], ends: str, _: int
) -> None:
    open_credit(customer_email="ada@example.com", limit_minor=5000, currency="GBP")
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        order = place(method, now=watched.clock(), **more)
        for _minute in range(8):
            drive(now=watched.clock)
            watched.clock.move(seconds=60)
    order.refresh_from_db()
    assert order.status == ends
    assert watched.said == []
    assert not Finding.objects.exists()


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
    # It was seen with its run turning back, and refunded before it was rejected.
    assert (("pending",), ("refunded",)) in {(orders, money) for orders, _, money in watched.states}
    assert "undoing" in {status for _, runs, _ in watched.states for status, _ in runs}


# With real processes -----------------------------------------------------------------------------------------------


def test_a_breach_becomes_a_finding_while_the_shop_is_at_work_and_clears_itself(
    place: Place, processes: Processes
) -> None:
    processes.worker(SAGAS_RECONCILE_SECONDS="1")
    processes.beat(SAGAS_RECONCILE_SECONDS="1")
    orders = [place("tok_visa" if number % 2 else "tok_chargeDeclined") for number in range(10)]
    wait_for(lambda: not Order.objects.filter(status="pending").exists())
    wait_for(lambda: not Run.objects.filter(finished_at=None).exists())
    broken = orders[1]
    Payment.objects.filter(order_id=broken.id).update(amount_minor=1)
    wait_for(lambda: ("money", str(broken.id)) in found(), why=lambda: str(found()))
    Payment.objects.filter(order_id=broken.id).update(amount_minor=2000)
    wait_for(lambda: not found(), why=lambda: str(found()))
    # Nothing else was ever found.
    assert set(Finding.objects.values_list("key", flat=True)) == {str(broken.id)}


def test_turns_that_piled_up_are_made_once(place: Place) -> None:
    place()
    tasks.reconcile()
    turn_made = Reconciliation.objects.get().turn
    tasks.reconcile()
    assert Reconciliation.objects.get().turn == turn_made


# Where people see it -----------------------------------------------------------------------------------------------


@pytest.fixture
def boss(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
def broken(confirmed: Order) -> Order:
    Parcel.objects.all().delete()
    turn()
    return confirmed


FINDINGS = "/admin/sagas/finding/"


def test_findings_are_listed_and_lead_to_their_order(broken: Order, boss: Client) -> None:
    StockItem.objects.filter(sku="LAMP").update(reserved=3)
    turn()
    StockItem.objects.filter(sku="LAMP").update(reserved=0)
    turn()
    page = boss.get(FINDINGS).content.decode()
    assert f"Order {broken.number} is confirmed, but it has no parcel." in page
    assert "LAMP" not in page
    assert "The shelf of LAMP" in boss.get(FINDINGS, {"state": "cleared"}).content.decode()
    assert boss.get(FINDINGS, {"state": "all", "check": "stock"}).context["cl"].result_count == 1
    assert boss.get(FINDINGS, {"q": str(broken.id)}).context["cl"].result_count == 1
    one = boss.get(f"{FINDINGS}{Finding.objects.get(status='open').pk}/change/").content.decode()
    assert f'href="/admin/orders/order/{broken.id}/change/"' in one
    assert "MUG: 2" in one
    assert "£20.00" in one
    cleared = boss.get(f"{FINDINGS}{Finding.objects.get(status='cleared').pk}/change/").content.decode()
    assert "dismiss-this" in one
    assert "dismiss-this" not in cleared


def test_a_finding_is_dismissed_with_a_reason_by_who_may(broken: Order, boss: Client) -> None:
    pk = Finding.objects.get().pk
    chosen = boss.post(FINDINGS, {"action": "dismiss_selected", "_selected_action": [pk]})
    address = f"{FINDINGS}dismiss/?id={pk}"
    assert chosen.headers["Location"] == address
    assert boss.get(f"{FINDINGS}{pk}/dismiss-this", follow=True).redirect_chain[-1][0] == address
    assert "it has no parcel" in boss.get(address).content.decode()
    assert "A reason is needed." in boss.post(address, {"reason": " "}).content.decode()
    assert Finding.objects.get().status == "open"
    boss.post(address, {"reason": "Sent by hand."})
    finding = Finding.objects.get()
    assert (finding.status, finding.dismissed_by, finding.dismissed_reason) == ("dismissed", "boss", "Sent by hand.")
    turn()
    assert found() == {}
    assert "None of these is open any more" in boss.get(address).content.decode()
    onlooker = User.objects.create_user("onlooker", is_staff=True)
    onlooker.user_permissions.add(Permission.objects.get(codename="view_finding"))
    client = Client()
    client.force_login(onlooker)
    assert "Sent by hand." in client.get(f"{FINDINGS}{pk}/change/").content.decode()
    assert client.post(address, {"reason": "Me too."}).status_code == 403


def test_the_dashboard_and_the_health_page_say_that_books_do_not_balance(confirmed: Order, boss: Client) -> None:
    assert Client().get("/api/health").json()["open_findings"] == 0
    Parcel.objects.all().delete()
    turn()
    health = Client().get("/api/health").json()
    assert (health["status"], health["open_findings"], health["needing_attention"]) == ("degraded", 1, 0)
    (figure,) = [figure for figure in boss.get("/admin/").context["figures"] if "balance" in figure["name"]]
    assert (figure["value"], figure["status"], figure["url"]) == (1, "needs_attention", FINDINGS)
    Finding.objects.all().delete()
    Reconciliation.objects.update(turned_at=timezone.now() - timedelta(hours=2))
    (figure,) = [figure for figure in boss.get("/admin/").context["figures"] if "balance" in figure["name"]]
    assert (figure["value"], figure["status"]) == (0, "waiting")
    assert figure["name"] == "books that do not balance, checked 2 h ago"
    Reconciliation.objects.all().delete()
    (figure,) = [figure for figure in boss.get("/admin/").context["figures"] if "balance" in figure["name"]]
    assert figure["name"] == "books that do not balance, checked never"


def test_findings_stand_in_the_work_queue_for_who_may_see_them(
    confirmed: Order, boss: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = "/admin/sagas/intervention/queue/"
    Parcel.objects.all().delete()
    turn()
    finding, said = Finding.objects.get(), "is confirmed, but it has no parcel."
    page = boss.get(queue).content.decode()
    assert said in page
    dismissal = f"/admin/sagas/finding/dismiss/?id={finding.pk}&amp;back={queue}"
    assert dismissal in page
    assert said not in boss.get(f"{queue}?kind=run").content.decode()
    assert said not in boss.get(f"{queue}?page=2&kind=delivery").content.decode()
    onlooker = User.objects.create_user("onlooker", is_staff=True)
    client = Client()
    client.force_login(onlooker)
    onlooker.user_permissions.add(Permission.objects.get(codename="view_run"))
    assert said not in client.get(queue).content.decode()
    onlooker.user_permissions.add(Permission.objects.get(codename="view_finding"))
    page = client.get(queue).content.decode()
    assert said in page
    assert "/dismiss/" not in page
    call_command("sagas", "queue")
    assert said in capsys.readouterr().out
    call_command("sagas", "queue", "--json")
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["id"]) == ("finding", finding.pk)
    elsewhere = boss.post(f"/admin/sagas/finding/dismiss/?id={finding.pk}&back=//evil.example/", {"reason": ""})
    assert "evil.example" not in elsewhere.content.decode()
    after = boss.post(dismissal.replace("&amp;", "&"), {"reason": "Sent by hand."}, follow=True)
    assert after.redirect_chain == [(queue, 302)]
    assert "Nothing needs a person." in after.content.decode()


def test_findings_are_listed_in_a_terminal(confirmed: Order, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sagas", "findings")
    assert capsys.readouterr().out == "The books balance.\n"
    Parcel.objects.all().delete()
    turn()
    call_command("sagas", "findings")
    assert capsys.readouterr().out.endswith(
        f"goods  Order {confirmed.number} is confirmed, but it has no parcel.\n"
        "    Send or fetch back the parcel, or correct the stock; dismiss the finding with what you did.\n"
    )
    call_command("sagas", "findings", "--json")
    (finding,) = json.loads(capsys.readouterr().out)
    assert (finding["check_name"], finding["key"]) == ("goods", str(confirmed.id))
    assert finding["facts"]["shipped"] == {"MUG": 2}
