"""A finding says what to do, stands together with others of the same key, and has the buttons of what is stuck."""

from django.test import Client
from django.utils import timezone

from sagas.core import registry
from sagas.log.relay import relay_events
from sagas.models import Finding, Run
from sagas.testing import drive
from tests.factories.journal import FindingFactory
from tests.factories.orders import Place

from .conftest import text_of

QUEUE = "/admin/sagas/intervention/queue/"


def found(check: str, key: object, message: str) -> Finding:
    return FindingFactory.create(check_name=check, key=str(key), message=message)


def test_the_queue_puts_the_findings_of_an_order_together_with_what_to_do(boss: Client, place: Place) -> None:
    order, other = place(), place()
    drive()
    unpaid = found("paid-for", order.id, "It has a parcel, but its parcel is not paid for.")
    elsewhere = found("told", other.id, "The customer was not told.")
    owed = found("money", order.id, "It is owed 20.00, 0.00 captured.")
    page = boss.get(QUEUE)
    problems = page.context["problems"]
    assert [[finding.pk for finding, _ in problem.findings] for problem in problems] == [
        [unpaid.pk, owed.pk],
        [elsewhere.pk],
    ]
    assert f'href="/admin/orders/order/{order.id}/change/">Order {order.number}</a>' in page.content.decode()
    for words in ("its parcel is not paid for", "Ask the customer to pay, or fetch back the parcel", "0.00 captured"):
        assert words in text_of(page)
    dismissed = boss.post(
        f"/admin/sagas/finding/dismiss/?{problems[0].ids}&back={QUEUE}", {"reason": "Paid in cash."}, follow=True
    )
    assert [str(message) for message in dismissed.context["messages"]] == ["2 dismissed."]
    assert list(Finding.objects.filter(status="open")) == [elsewhere]


def test_without_a_reason_nothing_is_dismissed(boss: Client) -> None:
    finding = found("told", "x", "The customer was not told.")
    page = boss.post(f"/admin/sagas/finding/dismiss/?id={finding.pk}", {"reason": " "})
    assert "A reason is needed." in text_of(page)
    finding.refresh_from_db()
    assert finding.status == "open"


def test_the_page_of_a_finding_says_what_to_do_and_has_the_buttons_of_the_run(boss: Client, place: Place) -> None:
    order = place()
    relay_events(now=timezone.now(), limit=500)
    finding = found("process", order.id, "It waits, and has no process.")
    page = boss.get(f"/admin/sagas/finding/{finding.pk}/change/")
    assert "Retry or cancel the order's run if it has one" in text_of(page).replace("&#x27;", "'")
    assert f'href="/admin/orders/order/{order.id}/change/">Go there</a>' in page.content.decode()
    assert [str(button.action) for button in page.context["buttons"]] == ["undo", "cancel", "pause"]
    assert f"pick=run%3A{Run.objects.get().pk}" in page.content.decode()


def test_every_check_says_what_to_do() -> None:
    assert [check.name for check in registry.checks() if not check.remedy] == []
