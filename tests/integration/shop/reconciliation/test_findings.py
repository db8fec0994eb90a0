"""Findings: made by turns beside real processes, shown to people, and dismissed."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from inventory.models import Parcel, StockItem
from orders.models import Order
from payments.models import Payment
from sagas.messaging import tasks
from sagas.models import Finding, Reconciliation, Run
from tests.conftest import Processes, wait_for
from tests.factories.orders import Place
from tests.factories.people import allowed

from .conftest import found, turn

pytestmark = pytest.mark.usefixtures("longest_pauses")


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
    client = allowed("sagas.view_finding")
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
    assert said not in allowed("sagas.view_run").get(queue).content.decode()
    page = allowed("sagas.view_run", "sagas.view_finding").get(queue).content.decode()
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
