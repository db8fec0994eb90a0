"""The work queue: what needs a person is found, and acted on only by who may."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from sagas.models import Intervention, Run
from sagas.operations import heartbeats
from tests.factories.orders import Place
from tests.factories.people import allowed

from .conftest import FORM, QUEUE, drive_until_started, listed, many, parked, stop_at, text_of, typed

# The list ---------------------------------------------------------------------------------------------------------


def test_all_that_needs_a_person_is_in_one_list_with_its_facts(boss: Client, place: Place, stuck: Run) -> None:
    other = place()
    drive_until_started(other)
    parked(other)
    page = boss.get(QUEUE)
    assert set(listed(page)) == {stuck.key, str(other.id)}
    words = text_of(page)
    order = Order.objects.get(id=stuck.key)
    for fact in (
        f"Order {order.number}", "confirm-order", "the printer burns", "Broken", "unexpected", "12 tries",
        "send-notification", "no route", "8 tries",
    ):  # fmt: skip
        assert fact in words
    assert f'href="/admin/orders/order/{order.id}/change/"' in page.content.decode()


def test_only_what_applies_now_is_offered(boss: Client, place: Place) -> None:
    behind, before = stop_at(place, "confirm-order"), stop_at(place, "capture-payment")
    (delivery,) = parked(Order.objects.get(id=before.key))
    rows = {row.summary.pk: [str(button.action) for button in row.buttons] for row in boss.get(QUEUE).context["rows"]}
    assert rows == {
        str(behind.pk): ["retry", "skip"],
        str(before.pk): ["retry", "skip", "undo", "cancel"],
        str(delivery.pk): ["retry", "skip"],
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"a", "b", "c"}),
        ("kind=run", {"a", "b"}),
        ("kind=delivery", {"c"}),
        ("process=send-notification", {"c"}),
        ("process=fulfil-order", {"a", "b"}),
        ("step=capture-payment", {"b"}),
        ("error=Broken", {"a"}),
        ("error=Late&kind=run", {"b"}),
        ("error=ChannelDown", {"c"}),
        ("error=Nothing", set()),
        ("kind=run%00&page=99999999999", {"a", "b"}),
    ],
)
def test_the_list_is_narrowed_by_kind_process_step_and_error(
    boss: Client, place: Place, query: str, found: set[str]
) -> None:
    keys = {
        stop_at(place, "confirm-order").key: "a",
        stop_at(place, "capture-payment", error="Late").key: "b",
    }
    other = place()
    drive_until_started(other)
    parked(other)
    keys[str(other.id)] = "c"
    page = boss.get(f"{QUEUE}?{query}")
    assert {keys[key] for key in listed(page)} == found
    assert page.context["total"] == len(found)


def test_who_waits_longest_comes_first_and_fifty_are_a_page(boss: Client, place: Place) -> None:
    order = place()
    drive_until_started(order)
    many(order, 60)
    first, second = boss.get(QUEUE), boss.get(f"{QUEUE}?page=2")
    assert (len(listed(first)), len(listed(second))) == (50, 10)
    assert not set(listed(first)) & set(listed(second))
    since = [row.summary.since for page in (first, second) for row in page.context["rows"]]
    assert since == sorted(since)


def test_the_list_costs_the_same_for_one_and_for_five_hundred(boss: Client, place: Place) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert boss.get(QUEUE).status_code == 200
        return len(captured)

    stuck = stop_at(place, "confirm-order")
    order = Order.objects.get(id=stuck.key)
    parked(order)
    for queue in heartbeats.queues():
        heartbeats.answered(queue, now=timezone.now())
    few = count()
    many(order, 500)
    parked_more = place()
    drive_until_started(parked_more)
    parked(parked_more, 200)
    assert count() <= few <= 18


def test_an_empty_queue_says_so(boss: Client) -> None:
    assert "Nothing needs a person." in text_of(boss.get(QUEUE))


# Who may ----------------------------------------------------------------------------------------------------------


def test_who_may_only_look_sees_no_buttons_and_is_refused(stuck: Run) -> None:
    (delivery,) = parked(Order.objects.get(id=stuck.key))
    viewer = allowed("sagas.view_run", "sagas.view_delivery")
    page = viewer.get(QUEUE)
    assert len(listed(page)) == 2
    assert FORM not in page.content.decode().replace(f'action="{FORM}"', "")
    assert "saga-bar" not in page.content.decode()
    assert 'name="pick"' not in page.content.decode()
    for subject in (stuck, delivery):
        assert viewer.get(FORM, typed("retry", subject)).status_code == 403
        assert viewer.post(FORM, typed("retry", subject)).status_code == 403
    assert viewer.post(FORM, typed("retry", all="1", count=9)).status_code == 403
    assert not Intervention.objects.exists()
    assert allowed().get(QUEUE).status_code == 403


def test_who_may_change_runs_may_not_change_deliveries(stuck: Run) -> None:
    (delivery,) = parked(Order.objects.get(id=stuck.key))
    clerk = allowed("sagas.view_run", "sagas.change_run")
    assert listed(clerk.get(QUEUE)) == [stuck.key]
    assert clerk.post(FORM, typed("retry", delivery)).status_code == 403
    assert clerk.post(FORM, typed("retry", stuck, delivery)).status_code == 403
    assert clerk.post(FORM, typed("retry", all="1", count=9)).status_code == 302
    assert [(asked.kind, asked.subject_id) for asked in Intervention.objects.all()] == [("run", str(stuck.pk))]


def test_a_form_without_its_token_is_refused(boss: Client, stuck: Run) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="boss"))
    assert strict.post(FORM, typed("retry", stuck)).status_code == 403
    assert not Intervention.objects.exists()
